//! `[security]` alone, which holds whatever the rest of the file is: it is never to be looser than somebody
//! has written it.
//!
//! Read strictly: what cannot be understood, what is named almost like it, and what stands where it does not
//! count is an error, and who reads it then goes no further.

use std::path::Path;

use serde::Deserialize;

use super::{ConfigError, SecurityConfig};

const SECTION: &str = "security";
const OPTIONS: [&str; 4] = ["require-root", "allow-ptrace", "sandboxed", "anonymize-addresses"];
/// Where names are anybody's own.
const FREE: &str = "environment";
/// So many letters that are wrong are a slip of the fingers.
const SLIP: usize = 2;

/// The section of this text; what else is in there may be wrong, as long as it is TOML.
pub(super) fn parse(text: &str, path: &Path) -> Result<SecurityConfig, ConfigError> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(default)]
        security: SecurityConfig,
    }
    let only: Only = toml::from_str(text).map_err(|error| ConfigError::of_toml(&error, text, path))?;
    let whole: toml::Table =
        toml::from_str(text).map_err(|error| ConfigError::of_toml(&error, text, path))?;
    let elsewhere = whole.iter().filter(|(name, _)| *name != SECTION).find_map(|(name, value)| {
        if is_like(name, SECTION) { Some(name.as_str()) } else { misplaced(name, value) }
    });
    match elsewhere {
        None => Ok(only.security),
        Some(name) => Err(ConfigError {
            path: path.to_owned(),
            place: None,
            reason: format!(
                "`{name}` is not where it counts: the section is [{SECTION}], with {}",
                OPTIONS.join(", ")
            ),
        }),
    }
}

/// An option of the section that stands outside of it.
fn misplaced<'a>(name: &'a str, value: &'a toml::Value) -> Option<&'a str> {
    if OPTIONS.iter().any(|option| is_like(name, option)) {
        return Some(name);
    }
    match value {
        toml::Value::Table(table) if name != FREE => {
            table.iter().find_map(|(name, value)| misplaced(name, value))
        }
        toml::Value::Array(items) => items.iter().find_map(|item| misplaced(name, item)),
        _ => None,
    }
}

fn is_like(name: &str, meant: &str) -> bool {
    strsim::damerau_levenshtein(&name.to_lowercase().replace('_', "-"), meant) <= SLIP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecurityConfig, ConfigError> {
        parse(text, Path::new("c.toml"))
    }

    #[test]
    fn its_options_are_all_of_them() {
        let text = toml::to_string(&SecurityConfig::default()).expect("TOML");
        let table: toml::Table = toml::from_str(&text).expect("TOML");
        let mut names: Vec<&str> = table.keys().map(String::as_str).collect();
        let mut options = OPTIONS;
        names.sort_unstable();
        options.sort_unstable();
        assert_eq!(names, options);
    }

    #[test]
    fn it_holds_whatever_else_is_wrong() {
        let strict = SecurityConfig { allow_ptrace: false, ..SecurityConfig::default() };
        for wrong in
            ["plaette = \"viridis\"\n", "palette = 7\n", "[hotkeys]\nquit = \"Super+Nonsense\"\n", ""]
        {
            assert_eq!(read(&format!("{wrong}[security]\nallow-ptrace = false\n")), Ok(strict), "{wrong}");
        }
        assert_eq!(read("").expect("nothing said"), SecurityConfig::default());
        let free = "[[kiosk.program]]\ncommand = [\"foot\"]\nenvironment = { SANDBOXED = \"1\" }\n";
        assert_eq!(read(free).expect("not ours"), SecurityConfig::default());
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_not_the_default() {
        for wrong in [
            "[security]\nalow-ptrace = false",
            "[security]\nallow-ptrace = \"false\"",
            "[security]\nallow-ptrace = false\nallow-ptrace = true",
            "[[security]]\nallow-ptrace = false",
            "security = false",
            "[securty]\nallow-ptrace = false",
            "[Security]\nx = 1",
            "allow-ptrace = false",
            "[power]\nidle-off-s = 1\nsandboxed = true",
            "[[output]]\nallow_ptrace = false",
            "palette =\n[security]\nallow-ptrace = false",
        ] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("c.toml:") && !error.contains('\n'), "{error}");
        }
    }
}
