//! Instructions of a Dockerfile that change what an image says of its containers.

use image::document::Execution;
use image::error::{Error, ErrorKind, Result};

/// What these instructions, in order, make of an image that says nothing.
pub(super) fn execution(instructions: &[String]) -> Result<Execution> {
    let mut execution = Execution::default();
    for instruction in instructions {
        apply(&mut execution, instruction).map_err(|why| {
            let message = format!("--change {instruction:?}: {why}");
            Error::new(ErrorKind::InvalidInput, message)
        })?;
    }
    Ok(execution)
}

fn apply(execution: &mut Execution, instruction: &str) -> std::result::Result<(), String> {
    let (word, rest) = instruction
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((instruction, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err("nothing follows the instruction's name".into());
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => execution.cmd = command(rest)?,
        "ENTRYPOINT" => execution.entrypoint = command(rest)?,
        "ENV" => {
            for (name, value) in pairs(rest)? {
                let prefix = format!("{name}=");
                execution
                    .env
                    .retain(|variable| !variable.starts_with(&prefix));
                execution.env.push(prefix + &value);
            }
        }
        "LABEL" => execution.labels.extend(pairs(rest)?),
        "EXPOSE" => execution
            .exposed_ports
            .extend(rest.split_whitespace().map(port)),
        "VOLUME" => execution.volumes.extend(volumes(rest)?),
        "USER" => execution.user = rest.to_owned(),
        "WORKDIR" => execution.working_dir = rest.to_owned(),
        "STOPSIGNAL" => execution.stop_signal = Some(rest.to_owned()),
        other => return Err(format!("{other} is no instruction that --change knows")),
    }
    Ok(())
}

/// A JSON array is the program and its arguments; anything else is a line for a shell.
fn command(text: &str) -> std::result::Result<Vec<String>, String> {
    if text.starts_with('[') {
        return array(text);
    }
    Ok(["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

fn array(text: &str) -> std::result::Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON array of strings: {error}"))
}

fn volumes(text: &str) -> std::result::Result<Vec<String>, String> {
    if text.starts_with('[') {
        return array(text);
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// TCP is what is meant without a word.
fn port(text: &str) -> String {
    match text.contains('/') {
        true => text.to_owned(),
        false => format!("{text}/tcp"),
    }
}

/// `NAME=value NAME="value with spaces"`, or the old `NAME value`.
fn pairs(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let words = words(text)?;
    match words.first() {
        Some(first) if !first.contains('=') => {
            let value = text
                .split_once(char::is_whitespace)
                .map(|(_, value)| value.trim());
            let value = value.ok_or("NAME=VALUE is expected")?;
            Ok(vec![(first.clone(), value.to_owned())])
        }
        _ => words
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
                _ => Err(format!("{word:?} is not NAME=VALUE")),
            })
            .collect(),
    }
}

/// Words apart by spaces, with quotes and backslashes as in a shell.
fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or("nothing follows the last backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_what_they_name() {
        let instructions = [
            "CMD [\"a\", \"b\"]",
            "entrypoint run it",
            "ENV A=1 B=\"two words\" C='x'",
            "ENV A 3 4",
            "LABEL l=\\\"q",
            "EXPOSE 80 53/udp",
            "VOLUME /a /b",
            "USER me",
            "WORKDIR /w",
            "STOPSIGNAL SIGINT",
        ];
        let execution = execution(&instructions.map(str::to_owned)).expect("they are good");
        assert_eq!(execution.cmd, ["a", "b"]);
        assert_eq!(execution.entrypoint, ["/bin/sh", "-c", "run it"]);
        assert_eq!(execution.env, ["B=two words", "C=x", "A=3 4"]);
        assert_eq!(execution.labels.get("l").map(String::as_str), Some("\"q"));
        assert_eq!(execution.exposed_ports, ["80/tcp", "53/udp"]);
        assert_eq!(execution.volumes, ["/a", "/b"]);
        assert_eq!(execution.user, "me");
        assert_eq!(execution.working_dir, "/w");
        assert_eq!(execution.stop_signal.as_deref(), Some("SIGINT"));
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        for text in [
            "",
            "CMD",
            "RUN x",
            "CMD [1]",
            "ENV A=\"x",
            "ENV A",
            "ENV =x",
            "LABEL a=1 b",
        ] {
            assert!(execution(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
