//! PEFT's two files and `perk.json`.

use std::path::Path;

use candle_core::{DType, Device};
use perk::Error;
use perk::checkpoint::Digest;
use perk::config::{InnerConfig, LoraConfig, ModelConfig};
use perk::model::Projection;
use perk::model::lora::{ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
use perk::store::{
    Artifact, BaseIdentity, CheckpointIdentity, ContextIdentity, Cost, Losses, RECORD_FILE, ReasoningRecipe,
    Recipe, Record, StoredAdapter,
};
use perk::text::{AnswerForm, ChatForm, Template};

use super::room::{room_with, seed, shape};
use super::{Form, Target};

pub const TARGETS: [Target; 3] = [
    Target {
        name: "adapter-tensors",
        file: ADAPTER_FILE,
        form: Form::Safetensors,
        seeds: || vec![seed(adapter, ADAPTER_FILE)],
        read: |data| load(&room_with("adapter-tensors", adapter, ADAPTER_FILE, data)),
    },
    Target {
        name: "adapter-config",
        file: ADAPTER_CONFIG_FILE,
        form: Form::Json,
        seeds: || vec![seed(adapter, ADAPTER_CONFIG_FILE)],
        // A form that is valid may be one that the tensors do not have.
        read: |data| match load(&room_with("adapter-config", adapter, ADAPTER_CONFIG_FILE, data)) {
            Err(Error::Tensor { .. }) => Ok(()),
            outcome => outcome,
        },
    },
    Target {
        name: "record",
        file: RECORD_FILE,
        form: Form::Json,
        seeds: || vec![seed(stored, RECORD_FILE)],
        read: |data| open(&room_with("record", stored, RECORD_FILE, data)),
    },
];

fn load(folder: &Path) -> perk::Result<()> {
    Adapter::load(folder, &shape(), DType::F32, &Device::Cpu).map(drop)
}

fn adapter(folder: &Path) {
    let spec = LoraSpec {
        rank: 2,
        alpha: 3.0,
        rslora: true,
        targets: Projection::ALL.to_vec(),
        layers: Layers::All,
    };
    let layout = LoraLayout::new(spec, &shape());
    let adapter = Adapter::new(layout, LoraInit::SmallB { std: 0.1 }, 1, DType::F32, &Device::Cpu);
    let adapter = adapter.expect("an adapter can be made");
    adapter.save(folder, "base").expect("an adapter can be written");
}

/// As whoever asks an adapter reads its record.
fn open(folder: &Path) -> perk::Result<()> {
    let stored = StoredAdapter::open(folder)?;
    let recipe = &stored.record.recipe;
    let fault = |reason| Error::file(folder.join(RECORD_FILE), reason);
    let template = Template::parse(&recipe.prompt).map_err(fault)?;
    let chat = recipe.chat_template.as_deref().map(ChatForm::parse).transpose().map_err(fault)?;
    let template = template.in_chat(chat);
    template.prompt(stored.record.context.segments, "Where is Mary?");
    if let Some(ReasoningRecipe { form, separator }) = &recipe.reasoning {
        let form = AnswerForm::parse_template(form).map_err(fault)?;
        form.parse("Mary went to the garden. So: garden").facts(separator);
    }
    // Whether the files are those that were written is another question than whether the record can be read.
    let _ = stored.verify();
    stored.record.base.digest.short();
    let Record { base, checkpoint, key, .. } = &stored.record;
    Record::key(&base.digest, &checkpoint.digest, key, recipe, "<s>", &base.model)
        .map(drop)
        .map_err(|error| fault(error.to_string()))
}

fn stored(folder: &Path) {
    adapter(folder);
    let digest = Digest::of_texts(&["x"]);
    let record = Record {
        format: Record::current_format(),
        perk_version: "0.1.0".to_owned(),
        key: digest.clone(),
        base: BaseIdentity {
            model: ModelConfig { base: "base".to_owned(), ..ModelConfig::default() },
            digest: digest.clone(),
        },
        checkpoint: CheckpointIdentity {
            path: Some("runs/a".into()),
            outer_steps: 3,
            digest: digest.clone(),
        },
        context: ContextIdentity {
            sources: vec!["story.txt".to_owned()],
            digest: digest.clone(),
            documents: 1,
            bytes: 100,
            tokens: 30,
            segments: 2,
        },
        recipe: Recipe {
            lora: LoraConfig::default(),
            inner: InnerConfig::default(),
            segment_tokens: 24,
            pack_documents: false,
            chat_template: Some("<u>{message}<a>".to_owned()),
            prompt: "{documents} Question: {question} Answer: {answer}".to_owned(),
            reasoning: Some(ReasoningRecipe {
                form: "{support} So: {answer}".to_owned(),
                separator: " ".to_owned(),
            }),
            max_new_tokens: 8,
        },
        losses: Losses { inner: vec![3.0, 2.0], cross_entropy: vec![3.0, 2.5] },
        adapter: Artifact { digest, bytes: 1 },
        cost: Cost { inner_secs: 0.5, tokens_per_sec: 60.0, peak_bytes: Some(1 << 20) },
    };
    let record = serde_json::to_string(&record).expect("a record is JSON");
    super::room::put(&folder.join(RECORD_FILE), record);
}
