//! The options table of containerd's configuration: TOML, of which containerd writes lines
//! `Name = value` with strings, whole numbers and booleans. Anything else is refused by line.

use super::Options;

/// What a line gives.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u32),
    Flag(bool),
}

/// The options of a table.
///
/// # Errors
///
/// The line, and what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Options, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    let mut options = Options::default();
    for (index, line) in text.lines().enumerate() {
        let fault = |fault| format!("line {}: {fault}", index + 1);
        let Some((name, value)) = split(line).map_err(fault)? else {
            continue;
        };
        set(&mut options, name, value).map_err(fault)?;
    }
    Ok(options)
}

/// Name and value of a line that has them.
fn split(line: &str) -> Result<Option<(&str, Value)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((name, rest)) = line.split_once('=') else {
        return Err(format!("{line:?} is no option: expected `Name = value`"));
    };
    let name = name.trim().trim_matches(['"', '\'']);
    let (value, after) = value(rest.trim_start()).map_err(|fault| format!("{name}: {fault}"))?;
    let after = after.trim_start();
    if after.is_empty() || after.starts_with('#') {
        return Ok(Some((name, value)));
    }
    Err(format!("{name}: {after:?} after the value"))
}

/// The value at the front, and what follows it.
fn value(text: &str) -> Result<(Value, &str), String> {
    if text.starts_with("\"\"\"") || text.starts_with("'''") {
        return Err("a string of several lines is not taken".into());
    }
    if let Some(rest) = text.strip_prefix('\'') {
        let (literal, after) = rest.split_once('\'').ok_or("the string has no end")?;
        return Ok((Value::Text(literal.into()), after));
    }
    if let Some(rest) = text.strip_prefix('"') {
        let (string, after) = basic_string(rest)?;
        return Ok((Value::Text(string), after));
    }
    let end = text.find(|letter: char| letter.is_whitespace() || letter == '#');
    let (word, after) = text.split_at(end.unwrap_or(text.len()));
    let value = match word {
        "true" => Value::Flag(true),
        "false" => Value::Flag(false),
        _ => Value::Number(word.replace('_', "").parse().map_err(|_| {
            format!("{word:?} is neither a string, a boolean nor a number up to 4294967295")
        })?),
    };
    Ok((value, after))
}

/// A string in double quotes, the first of which has been taken.
fn basic_string(text: &str) -> Result<(String, &str), String> {
    let mut string = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok((string, letters.as_str())),
            '\\' => string.push(escape(&mut letters)?),
            _ => string.push(letter),
        }
    }
    Err("the string has no end".into())
}

fn escape(letters: &mut std::str::Chars<'_>) -> Result<char, String> {
    let letter = letters.next().ok_or("the string has no end")?;
    Ok(match letter {
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'f' => '\u{c}',
        'r' => '\r',
        '"' | '\\' => letter,
        'u' => code_point(letters, 4)?,
        'U' => code_point(letters, 8)?,
        _ => return Err(format!("unknown escape \\{letter}")),
    })
}

fn code_point(letters: &mut std::str::Chars<'_>, digits: usize) -> Result<char, String> {
    let text: String = letters.take(digits).collect();
    let number = u32::from_str_radix(&text, 16).ok();
    let whole = number.filter(|_| text.chars().count() == digits);
    whole
        .and_then(char::from_u32)
        .ok_or_else(|| format!("{text:?} is no character's number"))
}

/// Sets an option by its name in the configuration, in any case, as containerd takes it.
fn set(options: &mut Options, name: &str, value: Value) -> Result<(), String> {
    match name.to_ascii_lowercase().as_str() {
        "nopivotroot" => flag(&mut options.no_pivot_root, value),
        "nonewkeyring" => flag(&mut options.no_new_keyring, value),
        "shimcgroup" => text(&mut options.shim_cgroup, value),
        "iouid" => number(&mut options.io_uid, value),
        "iogid" => number(&mut options.io_gid, value),
        "binaryname" => text(&mut options.binary_name, value),
        "root" => text(&mut options.root, value),
        "criupath" => text(&mut options.criu_path, value),
        "systemdcgroup" => flag(&mut options.systemd_cgroup, value),
        "criuimagepath" => text(&mut options.criu_image_path, value),
        "criuworkpath" => text(&mut options.criu_work_path, value),
        _ => {
            return Err(format!(
                "unknown option {name}: there are NoPivotRoot, NoNewKeyring, ShimCgroup, IoUid, IoGid, BinaryName, Root, CriuPath, SystemdCgroup, CriuImagePath, CriuWorkPath"
            ));
        }
    }
    .map_err(|expected| format!("{name}: expected {expected}"))
}

fn flag(place: &mut bool, value: Value) -> Result<(), &'static str> {
    match value {
        Value::Flag(flag) => *place = flag,
        _ => return Err("true or false"),
    }
    Ok(())
}

fn text(place: &mut String, value: Value) -> Result<(), &'static str> {
    match value {
        Value::Text(text) => *place = text,
        _ => return Err("a string"),
    }
    Ok(())
}

fn number(place: &mut u32, value: Value) -> Result<(), &'static str> {
    match value {
        Value::Number(number) => *place = number,
        _ => return Err("a number"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_as_containerd_writes_it_sets_every_option() {
        let options = parse(
            b"# from [plugins]\n\
              \n\
              BinaryName = \"/usr/bin/\\\"crun\\u0041\" # why\n\
              CriuImagePath = '/i\\n'\n\
              CriuPath='/c'\n\
              CriuWorkPath = \"\"\n\
              IoGid = 4_294_967_295\n\
              iouid = 0#\n\
              NoNewKeyring = true\n\
              NoPivotRoot = false\n\
              \"Root\" = '/r'\n\
              ShimCgroup = 's'\n\
              SystemdCgroup = true",
        )
        .unwrap();
        let expected = Options {
            no_pivot_root: false,
            no_new_keyring: true,
            shim_cgroup: "s".into(),
            io_uid: 0,
            io_gid: u32::MAX,
            binary_name: "/usr/bin/\"crunA".into(),
            root: "/r".into(),
            criu_path: "/c".into(),
            systemd_cgroup: true,
            criu_image_path: "/i\\n".into(),
            criu_work_path: String::new(),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_line() {
        let fault = |table: &str| parse(table.as_bytes()).unwrap_err();
        assert_eq!(
            fault("\n[more]\n"),
            "line 2: \"[more]\" is no option: expected `Name = value`"
        );
        assert_eq!(fault("Root = '/x"), "line 1: Root: the string has no end");
        assert_eq!(fault("Root = \"a\\q\""), "line 1: Root: unknown escape \\q");
        assert_eq!(
            fault("Root = \"\\u12\""),
            "line 1: Root: \"12\\\"\" is no character's number"
        );
        assert_eq!(fault("Root = 5"), "line 1: Root: expected a string");
        assert_eq!(fault("IoUid = 'a'"), "line 1: IoUid: expected a number");
        assert_eq!(
            fault("SystemdCgroup = 'true'"),
            "line 1: SystemdCgroup: expected true or false"
        );
        assert_eq!(
            fault("Root = '/a' '/b'"),
            "line 1: Root: \"'/b'\" after the value"
        );
        assert!(fault("IoUid = -1").contains("neither a string, a boolean nor a number"));
        assert!(fault("Root = '''a'''").contains("several lines"));
        assert!(fault("Roots = ''").contains("unknown option Roots"));
        assert!(parse(b"\xff").unwrap_err().contains("not UTF-8"));
    }

    proptest! {
        #[test]
        fn no_table_is_too_wild(table in any::<Vec<u8>>(), text in "[A-Za-z=\"'\\\\u0-9# \n]{0,60}") {
            // A fault or options; never a panic.
            let _either = (parse(&table), parse(text.as_bytes()));
        }

        #[test]
        fn a_string_comes_out_as_rust_has_escaped_it(path in "[ -~]{0,30}") {
            let table = format!("Root = {path:?}");
            // Rust's escapes of printable ASCII are TOML's, but for the single quote's.
            prop_assume!(!table.contains("\\'"));
            prop_assert_eq!(parse(table.as_bytes()).unwrap().root, path);
        }
    }
}
