//! `ingot config`: every setting, as a commented ingot.toml.

use crate::settings::{SETTINGS, Setting, SettingKind};

/// The text of an `ingot.toml` in which every setting stands as a comment with its default.
pub fn commented_file() -> String {
    let mut text = String::from(
        "# Every setting of Ingot with its default. An environment variable overrides each:\n\
         # INGOT_ and the key in capitals, with _ for the dots.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (setting_section, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if setting_section != section {
            section = setting_section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.push_str(&format!("# {}\n", setting.help));
        text.push_str(&format!("# {name} = {}\n", shown_default(setting)));
    }
    text
}

fn shown_default(setting: &Setting) -> String {
    match setting.kind {
        SettingKind::Text => format!("\"{}\"", setting.default),
        SettingKind::List | SettingKind::Tables => "[]".to_owned(),
        SettingKind::Integer | SettingKind::Boolean => setting.default.to_owned(),
    }
}

/// The settings as the table of docs/configuration.md.
#[cfg(test)]
pub fn markdown_table() -> String {
    let mut table = String::from("| setting | default | meaning |\n|---|---|---|\n");
    for setting in SETTINGS {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        table.push_str(&format!(
            "| `{}` | {default} | {} |\n",
            setting.key, setting.help
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_printed_file_is_valid_once_uncommented() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingot.toml");
        let text = commented_file();
        std::fs::write(&path, &text).unwrap();
        Config::load(Some(&path), []).unwrap();
        assert!(text.contains("# slots = 0"));
    }

    /// Set UPDATE_DOCS=1 to write the table anew.
    #[test]
    fn the_documentation_lists_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (start, end) = ("<!-- settings -->\n", "<!-- end of settings -->");
        let before = text.split(start).next().unwrap();
        let after = text.split(end).nth(1).unwrap();
        let wanted = format!("{before}{start}{}{end}{after}", markdown_table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        assert!(
            text == wanted || std::env::var_os("UPDATE_DOCS").is_some(),
            "docs/configuration.md is out of date: run UPDATE_DOCS=1 cargo test"
        );
    }
}
