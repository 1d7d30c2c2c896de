//! What a configuration stands for: the loaded base, the tokenizer, the learner, the threads.

use candle_core::DType;

use crate::{
    checkpoint::Batching,
    config::{
        self, ChatTemplate, Config, InnerConfig, LoraConfig, ModelConfig, Objective, OuterConfig, Storage,
        TargetConfig,
    },
    error::{Error, Result},
    eval::{Evaluator, Method, Model, Reasoning},
    gguf::TensorType,
    meta::{
        InnerOptimizer, InnerOptions, Learner, Limits, MetaParams, OuterOptions, Reduction, Tell, Workers,
    },
    model::lora::{Layers, LoraInit, LoraLayout, LoraSpec},
    model::{BaseFiles, Decoder, DecoderConfig, HubSettings, Keeping, Located, Projection, Role, resolve},
    optim::{AdamW, Momentum, Sgd},
    tasks::Encoder,
    text::{Chat, Tokenizer},
};

use super::at_once::{AtOnce, Ground, free_bytes};

/// Everything that stays the same while a run goes on.
#[derive(Debug)]
pub struct Setup {
    /// The resolved configuration, with the base as it is found from any folder, and the token that begins texts.
    pub config: Config,
    /// Where the base is.
    pub base: Located,
    /// Base, adapter layout and inner loop.
    pub learner: Learner,
    /// The outer loop.
    pub outer: OuterOptions,
    /// The base's tokenizer.
    pub tokenizer: Tokenizer,
    /// What a model of this configuration learns to write before an answer.
    pub reasoning: Option<Reasoning>,
    /// Episodes to tokens.
    pub encoder: Encoder,
    /// Threads that share the episodes.
    pub workers: Workers,
    /// What each of them computes at once.
    pub limits: Limits,
    /// What to tell a person of the device and of the base.
    pub notes: Vec<String>,
}

impl Setup {
    /// Loads what `config` names.
    ///
    /// # Errors
    /// A base that cannot be found, fetched or read; a device that this build or machine does not have.
    pub fn open(config: &Config, hub: &HubSettings) -> Result<Self> {
        let (mut config, base) = (config.clone(), locate_base(config, hub)?);
        let tokenizer = settle(&mut config, &base.files)?;
        let (storage, compute) = keeping(config.model.storage);
        let opened = config.run.device.open()?;
        let (decoder, notes) = base.files.decoder(storage, compute, &opened.device)?;
        let decoder = decoder.packed(config.model.matmul_precision)?;
        let setup = Self::on(&config, base, decoder, tokenizer)?;
        Ok(Self { notes: opened.note().into_iter().chain(notes).collect(), ..setup })
    }

    /// Another configuration on the base that this setup has loaded.
    ///
    /// # Errors
    /// A configuration that does not fit the base.
    pub fn beside(&self, config: &Config) -> Result<Self> {
        let mut config = config.clone();
        let tokenizer = settle(&mut config, &self.base.files)?;
        Self::on(&config, self.base.clone(), self.decoder().clone(), tokenizer)
    }

    fn on(config: &Config, base: Located, decoder: Decoder, tokenizer: Tokenizer) -> Result<Self> {
        let mut config = config.clone();
        config.model.base = base.place.to_string();
        config.model.begin_token = Some(tokenizer.begin_token().to_owned());
        let config = &config;
        let layout = lora_layout(&config.lora, &decoder.config)?;
        let ground = Ground {
            shape: &decoder.config,
            layout: &layout,
            base_bytes: base_bytes(&decoder),
            free_bytes: free_bytes(&decoder.device),
        };
        let AtOnce { threads, together, segments } = AtOnce::new(config, ground);
        let encoder = Encoder::new(&config.data, tokenizer.clone(), config.run.seed)?;
        let inner = inner_config(config);
        Ok(Self {
            learner: Learner::new(decoder, layout, inner_options(&inner, segments))?,
            outer: outer_options(&config.outer, &inner, &config.lora),
            config: config.clone(),
            base,
            tokenizer,
            reasoning: reasoning(&config.data.target)?,
            encoder,
            workers: Workers::new(threads)?,
            limits: Limits::new(together, segments),
            notes: Vec::new(),
        })
    }

    /// What the schedule multiplies the outer rates with at `step`, from 0.
    pub fn lr_factor(&self, step: usize) -> f64 {
        let outer = &self.outer;
        outer.schedule.factor(step, outer.steps, outer.warmup_steps, outer.final_lr_fraction)
    }

    /// The model of this setup with its trained parameters, as `method` asks it.
    pub fn model<'a>(&'a self, params: Option<&'a MetaParams>, method: Method) -> Model<'a> {
        Model {
            method,
            learner: &self.learner,
            params,
            encoder: &self.encoder,
            reasoning: self.reasoning.as_ref(),
            max_new_tokens: self.config.eval.max_new_tokens,
            retrieved_segments: 0,
        }
    }

    /// Who asks models on this machine, and tells `tell` of memory that was too small.
    pub fn evaluator<'a>(&'a self, tell: Tell<'a>) -> Evaluator<'a> {
        Evaluator { workers: &self.workers, limits: &self.limits, tell }
    }

    /// What is computed at once on a GPU, where its memory has a say in it.
    pub fn batching(&self) -> Option<Batching> {
        (!self.decoder().device.is_cpu()).then(|| Batching {
            episodes_together: self.limits.episodes_together.get(),
            micro_batch_segments: self.limits.micro_batch_segments.get(),
        })
    }

    /// Computes as much at once as a run did before, on a GPU.
    pub(super) fn go_on_with(&mut self, recorded: Option<Batching>) {
        if let Some(Batching { episodes_together, micro_batch_segments }) = self.batching().and(recorded) {
            self.learner.options.micro_batch_segments = micro_batch_segments;
            self.limits = Limits::new(episodes_together, micro_batch_segments);
        }
    }

    /// The frozen decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.learner.backbone.decoder
    }
}

/// How a model that is trained on such a target answers; `None` where it is the bare answer.
fn reasoning(target: &TargetConfig) -> Result<Option<Reasoning>> {
    let form = target.answer_form()?;
    Ok(form.map(|form| Reasoning { form, separator: target.support_separator.clone() }))
}

/// How much memory the frozen weights of a decoder take, in bytes.
fn base_bytes(decoder: &Decoder) -> u64 {
    let others =
        decoder.config.weights().into_iter().filter(|spec| matches!(spec.role, Role::Bias | Role::Gain));
    let others: usize = others.map(|spec| spec.count()).sum();
    (decoder.matrix_bytes() + others * decoder.dtype.size_in_bytes()) as u64
}

/// Where the base is.
pub(super) fn locate_base(config: &Config, hub: &HubSettings) -> Result<Located> {
    resolve(&config.model.base, config.model.revision.as_deref(), config.model.offline, hub)
}

/// The tokenizer of a base; what the configuration leaves to the base is written into it: the token that begins texts, and
/// for a chat model the form of a conversation and the token that ends an answer.
///
/// # Errors
/// A tokenizer or a template that cannot be used.
pub(super) fn settle(config: &mut Config, base: &BaseFiles) -> Result<Tokenizer> {
    let mut own = tokenizer(&config.model, base)?;
    config.model.begin_token = Some(own.begin_token().to_owned());
    let name = match &config.data.chat_template {
        ChatTemplate::None | ChatTemplate::Written(_) => return Ok(own),
        ChatTemplate::Auto => None,
        ChatTemplate::Named(name) => Some(name.as_str()),
    };
    let Some(Chat { form, end_token }) = base.chat(name, &own)? else {
        config.data.chat_template = ChatTemplate::None;
        return Ok(own);
    };
    config.data.chat_template = ChatTemplate::Written(form.to_string());
    if config.model.end_token.is_none() {
        let reason = "the base's chat template has no token behind an answer: name the one that ends it (model.end_token)";
        config.model.end_token = Some(end_token.ok_or_else(|| Error::file(base.path(), reason))?);
        own = tokenizer(&config.model, base)?;
    }
    Ok(own)
}

/// The tokenizer of a base.
pub(super) fn tokenizer(model: &ModelConfig, base: &BaseFiles) -> Result<Tokenizer> {
    base.tokenizer(model.end_token.as_deref(), model.begin_token.as_deref())
}

/// The tokenizer as a record has it; one that says nothing of a begin token is of a version that put none.
pub(crate) fn recorded_tokenizer(model: &ModelConfig, base: &BaseFiles) -> Result<Tokenizer> {
    let begin_token = model.begin_token.as_deref().unwrap_or_default();
    base.tokenizer(model.end_token.as_deref(), Some(begin_token))
}

/// How the frozen weights are held, type of everything computed.
pub(super) fn keeping(storage: Storage) -> (Keeping, DType) {
    match storage {
        Storage::F32 => (DType::F32.into(), DType::F32),
        Storage::Bf16 => (DType::BF16.into(), DType::F32),
        Storage::F16 => (DType::F16.into(), DType::F32),
        Storage::F64 => (DType::F64.into(), DType::F64),
        Storage::AsStored => (Keeping::AsStored, DType::F32),
        Storage::Q8_0 => (Keeping::Blocks(TensorType::Q8_0), DType::F32),
        Storage::Q4K => (Keeping::Blocks(TensorType::Q4K), DType::F32),
    }
}

/// The adapter's form on a base of this shape.
pub(super) fn lora_layout(lora: &LoraConfig, shape: &DecoderConfig) -> Result<LoraLayout> {
    let (spec, layers) = (lora_spec(lora)?, shape.num_layers);
    match spec.layers {
        Layers::Top(k) if k > layers => {
            Err(Error::Invalid(format!("lora.layers: is {k}, more than the layers of the base, {layers}")))
        }
        _ => Ok(LoraLayout::new(spec, shape)),
    }
}

fn lora_spec(lora: &LoraConfig) -> Result<LoraSpec> {
    let known = |name: &str| Projection::ALL.into_iter().find(|projection| projection.name() == name);
    if let Some(stranger) = lora.targets.iter().find(|name| known(name).is_none()) {
        return Err(Error::Invalid(format!("lora.targets: `{stranger}` is no projection")));
    }
    let wanted = |projection: &Projection| lora.targets.iter().any(|name| name == projection.name());
    let targets = Projection::ALL.into_iter().filter(wanted).collect();
    Ok(LoraSpec { rank: lora.rank, alpha: lora.alpha, rslora: lora.rslora, targets, layers: lora.layers })
}

/// A limit of 0 is none.
fn limit(clip_norm: f64) -> Option<f64> {
    (clip_norm > 0.0).then_some(clip_norm)
}

/// The inner loop that is trained: where there is none, there are no rates and no head to learn.
pub(super) fn inner_config(config: &Config) -> InnerConfig {
    match config.outer.objective {
        Objective::Perk => config.inner.clone(),
        Objective::InContext => InnerConfig {
            steps: 1,
            differentiated: 0,
            learned_lr: false,
            head: false,
            normalize_weights: false,
            ..config.inner.clone()
        },
    }
}

fn inner_options(inner: &InnerConfig, micro_batch_segments: usize) -> InnerOptions {
    let (beta1, beta2, eps, eps_root) = (inner.beta1, inner.beta2, inner.eps, inner.eps_root);
    InnerOptions {
        steps: inner.steps,
        differentiated: inner.differentiated,
        optimizer: match inner.optimizer {
            config::Optimizer::Adamw => InnerOptimizer::AdamW(AdamW { beta1, beta2, eps, eps_root }),
            config::Optimizer::Sgd if inner.momentum == 0.0 => InnerOptimizer::Sgd(Sgd),
            config::Optimizer::Sgd => InnerOptimizer::Momentum(Momentum { momentum: inner.momentum }),
        },
        weight_decay: inner.weight_decay,
        clip_norm: limit(inner.clip_norm),
        head: inner.head,
        normalize_weights: inner.normalize_weights,
        reduction: match inner.reduction {
            config::Reduction::Positions => Reduction::Positions,
            config::Reduction::LabelledTokens => Reduction::LabelledTokens,
            config::Reduction::Constant => Reduction::Constant(inner.divisor),
        },
        micro_batch_segments,
        activations: inner.activations,
    }
}

fn outer_options(outer: &OuterConfig, inner: &InnerConfig, lora: &LoraConfig) -> OuterOptions {
    OuterOptions {
        steps: outer.steps,
        lr: outer.lr,
        lr_inner_lr: outer.lr_inner_lr,
        lr_head: outer.lr_head,
        adamw: AdamW { beta1: outer.beta1, beta2: outer.beta2, eps: outer.eps, eps_root: 0.0 },
        weight_decay: outer.weight_decay,
        clip_norm: limit(outer.clip_norm),
        warmup_steps: outer.warmup_steps,
        schedule: outer.schedule,
        final_lr_fraction: outer.final_lr_fraction,
        inner_lr: inner.lr,
        learned_lr: inner.learned_lr,
        lr_parameterization: inner.lr_parameterization,
        head_hidden: inner.head_hidden,
        init: match lora.init {
            config::Init::Peft => LoraInit::Peft,
            config::Init::SmallB => LoraInit::SmallB { std: lora.b_std },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_projection_can_be_named_in_a_configuration() {
        assert_eq!(config::PROJECTIONS, Projection::ALL.map(Projection::name));
        assert_eq!(lora_spec(&LoraConfig::default()).unwrap().targets, Projection::ALL);
    }

    #[test]
    fn gradient_descent_has_momentum_where_the_configuration_says_so() {
        let rule = |momentum| {
            let inner = InnerConfig { optimizer: config::Optimizer::Sgd, momentum, ..InnerConfig::default() };
            inner_options(&inner, 1).optimizer
        };
        assert_eq!(rule(0.0), InnerOptimizer::Sgd(Sgd));
        assert_eq!(rule(0.9), InnerOptimizer::Momentum(Momentum { momentum: 0.9 }));
    }

    #[test]
    fn targets_are_put_in_the_order_of_a_layer() {
        let targets = vec!["down_proj".to_owned(), "q_proj".to_owned()];
        let spec = lora_spec(&LoraConfig { targets, ..LoraConfig::default() }).unwrap();
        assert_eq!(spec.targets, [Projection::QProj, Projection::DownProj]);
    }
}
