//! The hub's settings from the environment variables that `huggingface_hub` uses.

use std::path::PathBuf;

use perk::model::HubSettings;

use super::fetch;

/// Reads `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE`. Downloads are shown on stderr.
pub fn hub_settings() -> HubSettings {
    let settings = from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    HubSettings { watch: fetch::watch(), ..settings }
}

/// Settings from any source of variables. The token is `HF_TOKEN`, else the file `token` in `HF_HOME`.
fn from_lookup(variable: impl Fn(&str) -> Option<String>) -> HubSettings {
    let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
        cache.unwrap_or_else(|| PathBuf::from(".cache")).join("huggingface")
    });
    let stored_token = || {
        let text = std::fs::read_to_string(home.join("token")).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    };
    let on = |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
    HubSettings {
        cache_dir: variable("HF_HUB_CACHE").map(PathBuf::from).unwrap_or_else(|| home.join("hub")),
        token: variable("HF_TOKEN").or_else(stored_token),
        endpoint: variable("HF_ENDPOINT"),
        offline: variable("HF_HUB_OFFLINE").is_some_and(on),
        ..HubSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_is_read_from_the_usual_variables() {
        let settings = from_lookup(|name| match name {
            "HF_HOME" => Some("/models".to_owned()),
            "HF_HUB_OFFLINE" => Some("True".to_owned()),
            "HF_ENDPOINT" => Some("http://mirror".to_owned()),
            _ => None,
        });
        assert_eq!(settings.cache_dir, PathBuf::from("/models/hub"));
        assert_eq!(settings.endpoint.as_deref(), Some("http://mirror"));
        assert!(settings.offline && settings.token.is_none());
    }
}
