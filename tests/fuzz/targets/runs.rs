//! What a run leaves behind and reads again: checkpoints, journals, settings.

use std::path::Path;

use perk::checkpoint::{Batching, Digest, PROGRESS_FILE, Progress, TENSORS_FILE, load_tensors, save_run};
use perk::commands::evaluate::{EvalFolder, EvalReservation};
use perk::commands::{InnerStart, Setup, questions};
use perk::config::Config;
use perk::meta::OuterState;
use perk::model::HubSettings;
use perk::report::Metrics;
use serde_json::json;

use super::room::{base, put, room, room_with, seed, texts};
use super::{Form, Target};

const JOURNAL: &str = "samples.jsonl";
const SETTINGS: &str = "settings.json";

pub const TARGETS: [Target; 6] = [
    Target {
        name: "checkpoint-tensors",
        file: TENSORS_FILE,
        form: Form::Safetensors,
        seeds: || vec![seed(checkpoint, TENSORS_FILE)],
        read: |data| {
            let folder = room_with("checkpoint-tensors", checkpoint, TENSORS_FILE, data);
            let tensors = load_tensors(&folder, &candle_core::Device::Cpu)?;
            with_setup(|setup| {
                InnerStart::open(&folder)?.params(setup)?;
                OuterState::new(&setup.learner, &setup.outer, 3)?
                    .load_named(&folder.join(TENSORS_FILE), tensors)
            })
        },
    },
    Target {
        name: "run-state",
        file: PROGRESS_FILE,
        form: Form::Json,
        seeds: || vec![seed(checkpoint, PROGRESS_FILE)],
        read: |data| InnerStart::open(&room_with("run-state", checkpoint, PROGRESS_FILE, data)).map(drop),
    },
    Target {
        name: "metrics",
        file: "metrics.jsonl",
        form: Form::JsonLines,
        seeds: || {
            texts(&[
                "{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"eval\",\"step\":1}\n{\"kind\":\"step\",\"step\":9}\n",
            ])
        },
        read: |data| {
            let folder = room_with("metrics", |_| {}, "metrics.jsonl", data);
            Metrics::open(&folder.join("metrics.jsonl"), 3).map(drop)
        },
    },
    Target {
        name: "eval-journal",
        file: JOURNAL,
        form: Form::JsonLines,
        seeds: || texts(&[ASKED]),
        read: |data| {
            let folder = room_with("eval-journal", settings, JOURNAL, data);
            EvalFolder::open(EvalReservation::take(&folder)?, &json!({"seed": 1})).map(drop)
        },
    },
    Target {
        name: "eval-settings",
        // Settings that differ are the folder's.
        file: "eval-settings",
        form: Form::Json,
        seeds: || texts(&["{\"seed\": 1}"]),
        read: |data| {
            let folder = room_with("eval-settings", settings, SETTINGS, data);
            EvalFolder::open(EvalReservation::take(&folder)?, &json!({"seed": 1})).map(drop)
        },
    },
    Target {
        name: "answers",
        file: "answers.jsonl",
        form: Form::JsonLines,
        seeds: || texts(&["{\"question\":\"Where is Mary?\",\"settings\":{},\"answer\":\"garden\"}\n"]),
        read: |data| {
            let folder =
                room_with("answers", |folder| put(&folder.join("q.jsonl"), ASKING), "answers.jsonl", data);
            let asked = questions::read(&folder.join("q.jsonl"))?;
            questions::Answers::open(&folder.join("answers.jsonl"), &asked, json!({})).map(drop)
        },
    },
];

const ASKING: &str = "{\"question\": \"Where is Mary?\"}\n{\"question\": \"And John?\"}\n";

const ASKED: &str = "{\"method\":\"perk\",\"cell\":{\"subtask\":\"qa1\",\"length\":\"1x\",\"position\":\"random\"},\"index\":0,\
    \"name\":\"qa1 #0\",\"context_tokens\":40,\"dropped_tokens\":0,\"question\":\"Where is Mary?\",\
    \"answers\":[\"garden\"],\"output\":\"garden\",\"ended\":true,\"scores\":{\"exact_match\":true,\"f1\":1.0,\
    \"substring\":true,\"babilong\":null},\"encode_secs\":0.1,\"ask_secs\":0.1,\"prompt\":\"Question\"}\n";

fn settings(folder: &Path) {
    put(&folder.join(SETTINGS), "{\"seed\": 1}");
}

fn config(base: &Path) -> Config {
    let text = format!(
        "[model]\nbase = {:?}\n[lora]\nrank = 2\n[inner]\nsteps = 2\ndifferentiated = 1\nhead_hidden = 4\n[data]\n\
         context_tokens = 40\nsegment_tokens = 24\nnumber_offset_max = 5\n[run]\ndevice = \"cpu\"\n",
        base.display().to_string()
    );
    Config::from_toml("config.toml".as_ref(), &text).expect("the configuration is valid")
}

/// The setup that the checkpoints here belong to.
fn with_setup<T>(work: impl FnOnce(&Setup) -> T) -> T {
    thread_local! {
        static SETUP: Setup =
            Setup::open(&config(&room("run-base", base)), &HubSettings::default()).expect("the setup is valid");
    }
    SETUP.with(work)
}

fn checkpoint(folder: &Path) {
    let progress = Progress {
        step: 3,
        next_episode: 12,
        seed: 3,
        best_score: Some(0.5),
        train_secs: 1.5,
        eval_secs: 0.5,
        last_eval_step: 2,
        config: config(Path::new("base")).to_toml().expect("the configuration is valid"),
        base: Some(Digest::of_texts(&["base"])),
        batching: Some(Batching { episodes_together: 2, micro_batch_segments: 8 }),
    };
    with_setup(|setup| {
        let state = OuterState::new(&setup.learner, &setup.outer, 3).expect("a start can be made");
        // Beside the folder's own files, which stay.
        let inner = folder.join("saved");
        save_run(&inner, &progress, &state.named_tensors(), |_| Ok(())).expect("a checkpoint can be written");
        for file in [TENSORS_FILE, PROGRESS_FILE] {
            std::fs::rename(inner.join(file), folder.join(file)).expect("a file can be moved");
        }
    });
}
