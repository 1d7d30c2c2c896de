//! Several processes that work on one thing.

use super::room::Room;

#[test]
fn a_build_for_one_process_says_which_build_several_need() {
    if cfg!(feature = "mpi") {
        return;
    }
    let room = Room::new();
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let output = room.perk(&["meta-train", "--config", "c.toml"]).env(name, "2").output().unwrap();
        let message = super::room::message(&output, 1);
        assert!(message.contains("--features mpi"), "{message}");
        assert!(!room.path("runs").exists());
        assert!(room.perk(&["config", "check", "c.toml"]).env(name, "1").output().unwrap().status.success());
    }
}

/// With MPI, whose launcher starts the processes.
#[cfg(feature = "mpi")]
mod mpi {
    use std::collections::HashMap;
    use std::fs;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use candle_core::{DType, Device, Tensor};
    use perk::checkpoint::load_tensors;
    use perk::model::lora::ADAPTER_FILE;

    use crate::room::{Room, STORY, printed, stderr};

    /// `perk` in so many processes of one thread.
    fn mpirun(room: &Room, ranks: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "--oversubscribe", "--quiet", "-n", &ranks.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_perk")).args(arguments).current_dir(room.path(""));
        command.env("RAYON_NUM_THREADS", "1").stdin(Stdio::null());
        command
    }

    /// Trains in so many processes into a run of its own.
    fn train(room: &Room, ranks: usize, name: &str, more: &[&str]) -> HashMap<String, Tensor> {
        let out = format!("runs/{name}");
        let arguments = [&["meta-train", "--config", "c.toml", "--out", &out], more].concat();
        printed(mpirun(room, ranks, &arguments).output().unwrap());
        tensors(room, name)
    }

    fn tensors(room: &Room, name: &str) -> HashMap<String, Tensor> {
        load_tensors(&room.path(&format!("runs/{name}/checkpoints/last")), &Device::Cpu).unwrap()
    }

    /// The largest difference of two states, relative to the largest number of the tensor it is in.
    fn apart(a: &HashMap<String, Tensor>, b: &HashMap<String, Tensor>) -> f64 {
        assert_eq!(a.len(), b.len());
        let numbers =
            |x: &Tensor| x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        let largest = |x: &[f64]| x.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        a.iter()
            .map(|(name, a)| {
                let (a, b) = (numbers(a), numbers(&b[name]));
                let difference: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
                largest(&difference) / largest(&a).max(1e-30)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn a_number_of_ranks_gives_the_same_bits_and_another_the_same_but_for_rounding() {
        let room = Room::new();
        // The first moments are the gradient; a step of AdamW makes rounding large where gradients are small.
        for (storage, tolerance) in [("f64", 1e-12), ("f32", 1e-6)] {
            let storage = format!("model.storage={storage}");
            let settings =
                ["--set", storage.as_str(), "--set", "outer.steps=1", "--set", "outer.warmup_steps=0"];
            let run =
                |ranks: usize, name: &str| train(&room, ranks, &format!("{name}-{tolerance}"), &settings);
            let alone = run(1, "one");
            let two = run(2, "two");
            assert_eq!(apart(&two, &run(2, "again")), 0.0);
            let moments = |state: &HashMap<String, Tensor>| -> HashMap<String, Tensor> {
                state
                    .iter()
                    .filter(|(name, _)| name.starts_with("m."))
                    .map(|(n, t)| (n.clone(), t.clone()))
                    .collect()
            };
            // More ranks than episodes leave some without any.
            for (ranks, state) in [(2, two), (4, run(4, "four"))] {
                let difference = apart(&moments(&alone), &moments(&state));
                assert!(difference < tolerance, "{ranks} ranks, {storage}: {difference:e}");
            }
        }
    }

    #[test]
    fn a_context_is_encoded_by_all_ranks_as_by_one() {
        let room = Room::trained();
        fs::write(room.path("long.txt"), STORY.repeat(5)).unwrap();
        let encode = |ranks: usize, out: &str| {
            let arguments = ["encode", "--context", "long.txt", "--out", out];
            printed(mpirun(&room, ranks, &arguments).output().unwrap());
            let file = room.path(out).join(ADAPTER_FILE);
            (
                fs::read(&file).unwrap(),
                candle_core::safetensors::load(file, &Device::Cpu).unwrap(),
                room.json(&format!("{out}/perk.json")),
            )
        };
        let (_, alone, record) = encode(1, "one");
        let (bytes, two, other) = encode(2, "two");
        assert_eq!(bytes, encode(2, "again").0);
        let three = encode(3, "three").1;
        for state in [&two, &three] {
            let difference = apart(&alone, state);
            assert!(difference < 1e-4, "{difference:e}");
        }
        assert_eq!(record["key"], other["key"]);
        for (a, b) in record["losses"]["inner"]
            .as_array()
            .unwrap()
            .iter()
            .zip(other["losses"]["inner"].as_array().unwrap())
        {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() < 1e-5 * a.abs(), "{a} {b}");
        }
    }

    #[test]
    fn what_one_rank_cannot_do_ends_all_with_its_reason() {
        let room = Room::new();
        // The rates make the inner loss overflow on every rank that has an episode.
        let arguments = ["meta-train", "--config", "c.toml", "--set", "inner.lr=1e30", "--out", "runs/nan"];
        let began = Instant::now();
        let output = mpirun(&room, 3, &arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(stderr(&output).contains("at outer step 0"), "{}", stderr(&output));
        let output = mpirun(&room, 2, &["meta-train", "--config", "nothing.toml"]).output().unwrap();
        assert!(!output.status.success() && stderr(&output).contains("nothing.toml"), "{}", stderr(&output));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_rank_that_dies_ends_all_and_the_run_goes_on_with_another_number_of_ranks() {
        let room = Room::new();
        let settings = ["model.storage=f64", "outer.steps=60", "eval.every=0", "run.checkpoint_every=1"];
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let whole = train(&room, 2, "whole", &settings);
        let arguments = [&["meta-train", "--config", "c.toml", "--out", "runs/dies"], &settings[..]].concat();
        let mut command = mpirun(&room, 3, &arguments);
        let mut job = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let metrics = room.path("runs/dies/metrics.jsonl");
        let steps = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
        let began = Instant::now();
        while steps() < 3 {
            assert!(began.elapsed() < Duration::from_secs(60), "no step in a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = last_rank(job.id());
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        let died = Instant::now();
        assert!(!job.wait().unwrap().success());
        assert!(died.elapsed() < Duration::from_secs(20), "{:?}", died.elapsed());
        assert!(steps() < 60, "it was at its end before");
        printed(mpirun(&room, 4, &["meta-train", "--resume", "runs/dies"]).output().unwrap());
        // Each step rounds otherwise, and AdamW divides by small numbers.
        let difference = apart(&whole, &tensors(&room, "dies"));
        assert!(difference < 1e-6, "{difference:e}");
    }

    /// The process of the highest rank that `mpirun` has started.
    fn last_rank(launcher: u32) -> u32 {
        let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
        let rank = |pid: &str| -> Option<(usize, u32)> {
            let environment = fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
            let rank = environment.split('\0').find_map(|line| line.strip_prefix("OMPI_COMM_WORLD_RANK="))?;
            Some((rank.parse().ok()?, pid.parse().ok()?))
        };
        children.split_whitespace().filter_map(rank).max().expect("mpirun has started ranks").1
    }

    #[test]
    fn commands_that_need_no_other_rank_run_once() {
        let room = Room::trained();
        let output = mpirun(&room, 2, &["encode", "--context", "missing.txt"]).output().unwrap();
        assert_eq!(stderr(&output).matches("missing.txt").count(), 1, "{}", stderr(&output));
        let text = printed(mpirun(&room, 2, &["config", "check", "c.toml"]).output().unwrap());
        assert!(text.lines().count() <= 1, "{text}");
    }
}
