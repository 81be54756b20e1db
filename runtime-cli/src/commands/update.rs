//! `tare update`.

use std::io::Read;
use std::path::Path;

use runtime_core::bundle::{self, DOCUMENT_MAX_BYTES};
use runtime_core::spec::{BlockIo, Cpu, Memory, Pids, Resources, Text};

use super::container_id;
use crate::command_line::{Command, Count, Flag, Parsed};
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::flags::{
    BLKIO_WEIGHT, CPU_BURST, CPU_IDLE, CPU_PERIOD, CPU_QUOTA, CPU_RT_PERIOD, CPU_RT_RUNTIME,
    CPU_SHARE, CPUSET_CPUS, CPUSET_MEMS, KERNEL_MEMORY, KERNEL_MEMORY_TCP, L3_CACHE_SCHEMA,
    MEM_BW_SCHEMA, MEMORY, MEMORY_RESERVATION, MEMORY_SWAP, PIDS_LIMIT, RESOURCES,
};
use crate::globals::Globals;
use crate::quantity;

pub(super) const COMMAND: Command = Command {
    name: "update",
    summary: "change the limits of a container",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "All limits that are given hold when this succeeds, and none of them when it fails; the others\n\
                  stay as they are. An empty value and 0 leave a limit as it is, too (but for --cpu-burst\n\
                  and --cpu-idle, where 0 is a value). Device rules never change.\n\
                  \n\
                  BYTES is a number, with k, m, g, t or p after it in units of 1024, or -1 for no limit.\n\
                  \n\
                  FILE has JSON as config.json's linux.resources, for example:\n\
                  \n    \
                  {\"memory\": {\"limit\": 268435456}, \"cpu\": {\"cpus\": \"0-1\"}, \"pids\": {\"limit\": 100}}\n\
                  \n\
                  With it the other options are ignored.",
    enters_containers: false,
    flags: &[
        &RESOURCES,
        &BLKIO_WEIGHT,
        &CPU_PERIOD,
        &CPU_QUOTA,
        &CPU_BURST,
        &CPU_SHARE,
        &CPU_RT_PERIOD,
        &CPU_RT_RUNTIME,
        &CPUSET_CPUS,
        &CPUSET_MEMS,
        &KERNEL_MEMORY,
        &KERNEL_MEMORY_TCP,
        &MEMORY,
        &CPU_IDLE,
        &MEMORY_RESERVATION,
        &MEMORY_SWAP,
        &PIDS_LIMIT,
        &L3_CACHE_SCHEMA,
        &MEM_BW_SCHEMA,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let mut container = globals.runtime()?.open(&container_id(parsed)?)?;
    refuse_rdt(parsed)?;
    match parsed.path(&RESOURCES) {
        Some(path) => {
            let (name, document) = read(path)?;
            let resources = bundle::parse(&document);
            let resources =
                resources.map_err(|error| Failure::invalid(format_args!("{name}: {error}")))?;
            container.update(&resources)?;
        }
        None => container.update(&described(parsed)?)?,
    }
    // Not before: a failure is to be the only record.
    for warning in warnings(parsed) {
        globals.log.warning(&warning);
    }
    Ok(Exit::Success)
}

/// What nobody hears of otherwise.
fn warnings(parsed: &Parsed<'_>) -> Vec<String> {
    let given = |flag: &&&Flag| parsed.path(flag).is_some();
    if parsed.path(&RESOURCES).is_some() {
        let others = COMMAND
            .flags
            .iter()
            .filter(|flag| flag.name != RESOURCES.name);
        return others
            .filter(given)
            .map(|flag| format!("--{} is ignored beside --resources", flag.name))
            .collect();
    }
    [&KERNEL_MEMORY, &KERNEL_MEMORY_TCP]
        .iter()
        .filter(given)
        .map(|flag| {
            format!(
                "--{} is ignored: kernels have no such limit any more",
                flag.name
            )
        })
        .collect()
}

/// Whoever isolates caches must not believe that it is done.
fn refuse_rdt(parsed: &Parsed<'_>) -> Result<(), Failure> {
    match [&L3_CACHE_SCHEMA, &MEM_BW_SCHEMA]
        .iter()
        .find(|flag| parsed.path(flag).is_some())
    {
        Some(flag) => Err(Failure {
            kind: Some(runtime_core::ErrorKind::Unsupported),
            ..Failure::new(format_args!(
                "--{} is not supported yet (linux.intelRdt)",
                flag.name
            ))
        }),
        None => Ok(()),
    }
}

/// The document of `--resources`, and its name in messages.
fn read(path: &str) -> Result<(&str, Vec<u8>), Failure> {
    const STDIN: &str = "standard input";
    if path != "-" {
        return Ok((path, bundle::read_document(Path::new(path))?));
    }
    let mut document = Vec::new();
    let mut bounded = std::io::stdin().lock().take(DOCUMENT_MAX_BYTES + 1);
    bounded
        .read_to_end(&mut document)
        .doing(format_args!("read {STDIN}"))?;
    if document.len() as u64 > DOCUMENT_MAX_BYTES {
        let limit = DOCUMENT_MAX_BYTES >> 20;
        return Err(Failure::invalid(format_args!(
            "{STDIN} has more than {limit} MiB"
        )));
    }
    Ok((STDIN, document))
}

/// The resources that the flags describe.
fn described<'a>(parsed: &Parsed<'a>) -> Result<Resources<'a>, Failure> {
    let number = |flag| {
        value(parsed, flag, "a whole number, 0 or more", |text| {
            text.parse().ok()
        })
    };
    let signed = |flag| value(parsed, flag, "a whole number", |text| text.parse().ok());
    let bytes = |flag| {
        let rule = "a number of bytes, with k, m, g, t or p for units of 1024, or -1 for no limit";
        value(parsed, flag, rule, quantity::bytes_or_unlimited)
    };
    let weight = |flag| {
        value(parsed, flag, "a number from 10 to 1000", |text| {
            text.parse().ok()
        })
    };
    let text = |flag| parsed.path(flag).map(Text::from);
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes(&MEMORY)?,
            reservation: bytes(&MEMORY_RESERVATION)?,
            swap: bytes(&MEMORY_SWAP)?,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: number(&CPU_SHARE)?,
            quota: signed(&CPU_QUOTA)?,
            burst: number(&CPU_BURST)?,
            period: number(&CPU_PERIOD)?,
            realtime_runtime: signed(&CPU_RT_RUNTIME)?,
            realtime_period: number(&CPU_RT_PERIOD)?,
            cpus: text(&CPUSET_CPUS),
            mems: text(&CPUSET_MEMS),
            idle: signed(&CPU_IDLE)?,
            ..Cpu::default()
        }),
        block_io: Some(BlockIo {
            weight: weight(&BLKIO_WEIGHT)?,
            ..BlockIo::default()
        }),
        pids: Some(Pids {
            limit: signed(&PIDS_LIMIT)?.filter(|limit| *limit != 0),
            ..Pids::default()
        }),
        ..Resources::default()
    })
}

/// The value of a flag; as runc has it, an empty one is none.
fn value<T>(
    parsed: &Parsed<'_>,
    flag: &Flag,
    rule: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(text) = parsed.path(flag) else {
        return Ok(None);
    };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Failure::invalid(format_args!(
            "invalid value {text:?} for --{}: must be {rule}",
            flag.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line;

    fn described_by<T>(line: &str, look: impl FnOnce(Result<Resources<'_>, Failure>) -> T) -> T {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = command_line::parse(COMMAND.flags, false, &arguments).unwrap();
        look(described(&parsed))
    }

    #[test]
    fn flags_describe_what_a_document_says() {
        let line = "--blkio-weight 100 --cpu-period 50000 --cpu-quota=-1 --cpu-burst 0 --cpu-share 512
            --cpu-rt-period 1000000 --cpu-rt-runtime 950 --cpuset-cpus 0-1 --cpuset-mems 0 --memory 64m
            --cpu-idle 1 --memory-reservation 32M --memory-swap -1 --pids-limit 7 --kernel-memory 1 id";
        let document = r#"{
            "blockIO": {"weight": 100},
            "cpu": {"period": 50000, "quota": -1, "burst": 0, "shares": 512, "realtimePeriod": 1000000,
                "realtimeRuntime": 950, "cpus": "0-1", "mems": "0", "idle": 1},
            "memory": {"limit": 67108864, "reservation": 33554432, "swap": -1},
            "pids": {"limit": 7}
        }"#;
        let expected: Resources<'_> = serde_json::from_str(document).unwrap();
        described_by(line, |resources| assert_eq!(resources.unwrap(), expected));
    }

    #[test]
    fn an_empty_value_is_none_and_so_is_a_limit_of_no_processes() {
        let empty: Resources<'_> =
            serde_json::from_str(r#"{"memory": {}, "cpu": {}, "blockIO": {}, "pids": {}}"#)
                .unwrap();
        for line in [
            "id",
            "--memory= --cpu-idle= --cpuset-cpus= --pids-limit= id",
            "--pids-limit 0 id",
        ] {
            described_by(line, |resources| {
                assert_eq!(resources.unwrap(), empty, "{line}")
            });
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_flag() {
        let said = |line| described_by(line, |resources| resources.unwrap_err().message);
        let all = [
            "--memory 1x",
            "--memory -2",
            "--memory-swap 1.2.3g",
            "--memory-reservation k",
            "--cpu-period -1",
            "--cpu-quota 1e5",
            "--cpu-burst 0x1",
            "--cpu-share 18446744073709551616",
            "--cpu-rt-runtime x",
            "--cpu-rt-period x",
            "--cpu-idle yes",
            "--blkio-weight 65536",
            "--pids-limit max",
        ];
        insta::assert_snapshot!(all.map(said).join("\n"));
    }
}
