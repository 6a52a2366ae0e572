//! Runs the VMs, and prints a line for each kernel.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;
use dev_support::outcome::Outcome;
use dev_support::paths;
use dev_support::setup::{self, Purpose};
use lab::{FAILED, LabArgs};

use super::VmArgs;
use super::archive::apt::Apt;
use super::archive::kernel::{self, Kernel};
use super::archive::mirror::Mirror;
use super::guest::cpio::Cpio;
use super::guest::init::OUT;
use super::guest::rootfs::Task;
use super::guest::{modules, rootfs};
use super::lock::Lock;
use super::machine::{Machine, OUTPUT};

/// Name of the file of the lab's results, in the VM and on the host.
const RESULTS: &str = "results.json";

/// How the runs of all kernels ended.
pub(super) struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// Whether at least one kernel passed and none failed.
    pub(super) fn good(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }

    pub(super) fn outcome(&self) -> Result<Outcome> {
        if !self.failed.is_empty() {
            bail!("{} failed", self.failed.join(", "));
        }
        if !self.skipped.is_empty() {
            return Ok(Outcome::Skipped(format!("{}; {} kernels passed", self.skipped.join("; "), self.passed)));
        }
        Ok(Outcome::Passed)
    }
}

/// Parses the name of a series of kernels.
pub(super) fn series(text: &str) -> Result<String, String> {
    let series = text.strip_suffix(".x").unwrap_or(text);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if series.split('.').all(is_number) {
        Ok(series.to_owned())
    } else {
        Err("a series of kernels is written like 6.12".to_owned())
    }
}

/// The mirror to fetch kernels from; fails where no kernel can be booted.
pub(super) fn check_host() -> Result<Mirror> {
    ensure!(std::env::consts::ARCH == "x86_64", "the kernels are for x86_64, but this machine is not");
    Mirror::of_this_machine().context("apt has no source of Debian packages here")
}

pub(super) fn run(args: &VmArgs) -> Result<Tally> {
    let mirror = check_host()?;
    let rstwatch = paths::root().join(&args.rstwatch);
    ensure!(rstwatch.is_file(), "no rstwatch at {}: build it with `cargo build --release`", args.rstwatch.display());
    let task = task(args)?;
    setup::ensure(Purpose::Lab)?;
    setup::ensure(Purpose::Vm)?;
    setup::ensure(Purpose::Formats)?;
    let common = rootfs::common(&rstwatch, &task)?;
    let mut tally = Tally { passed: 0, failed: Vec::new(), skipped: Vec::new() };
    let runs = prepare(args, &mirror, &common, &mut tally)?;
    let (runs, ended) = (Mutex::new(runs), Mutex::new(&mut tally));
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| work(&runs, &ended));
        }
    });
    println!("{} kernels passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped.len());
    Ok(tally)
}

/// Fetches the kernels that are missing, and prepares the runs.
fn prepare<'a>(args: &'a VmArgs, mirror: &Mirror, common: &'a Cpio, tally: &mut Tally) -> Result<VecDeque<Run<'a>>> {
    let home = paths::target().join("vm");
    let archive = home.join("apt");
    let _alone = Lock::wait(&archive)?;
    let apt = Apt::update(&archive, mirror)?;
    let mut runs = VecDeque::new();
    for series in &args.kernels {
        let home = home.join(series);
        let lock = Lock::take(&home)?;
        match kernel::newest(&apt, series, &home) {
            Ok(kernel) => runs.push_back(Run { series, kernel, home, args, common, _lock: lock }),
            Err(why) => {
                println!("{series}: skipped: {why:#}");
                tally.skipped.push(format!("{series}: {why:#}"));
            }
        }
    }
    Ok(runs)
}

/// The command that runs in each VM, only to have its arguments checked.
#[derive(clap::Parser)]
#[command(bin_name = "cargo xtask lab")]
struct LabCommand {
    #[command(flatten)]
    _args: LabArgs,
}

/// The task for each VM.
fn task(args: &VmArgs) -> Result<Task> {
    if let Some(command) = &args.shell_command {
        return Ok(Task { command: ["bash", "-c", command].map(str::to_owned).into() });
    }
    let results = format!("{OUT}/{RESULTS}");
    let words = [rootfs::XTASK, "lab", "--rstwatch", rootfs::RSTWATCH, "--json", &results];
    let mut command = words.map(str::to_owned).to_vec();
    command.extend(args.lab.iter().cloned());
    // Reports wrong arguments before any VM boots.
    if let Err(wrong) = LabCommand::try_parse_from(command.iter().skip(1)) {
        wrong.exit();
    }
    Ok(Task { command })
}

/// A VM to run.
struct Run<'a> {
    series: &'a str,
    kernel: Kernel,
    home: PathBuf,
    args: &'a VmArgs,
    common: &'a Cpio,
    _lock: Lock,
}

/// Runs VMs until none is left.
fn work(runs: &Mutex<VecDeque<Run>>, tally: &Mutex<&mut Tally>) {
    let next = || runs.lock().ok()?.pop_front();
    while let Some(run) = next() {
        let started = Instant::now();
        let ended = run.make();
        let Ok(mut tally) = tally.lock() else {
            return;
        };
        let Run { series, kernel, .. } = &run;
        print!("{}", run.output(ended.as_ref().is_ok_and(|(good, _)| *good)));
        let (good, what) = ended.unwrap_or_else(|why| (false, format!("failed: {why:#}")));
        println!("{series} ({}): {what}, {:.0} s", kernel.release, started.elapsed().as_secs_f32());
        if good { tally.passed += 1 } else { tally.failed.push((*series).to_owned()) }
    }
}

impl Run<'_> {
    /// The whole output of a `--shell-command`; of the lab, the lines about failures, in case the log is lost with the host.
    fn output(&self, good: bool) -> String {
        let output = fs::read(self.home.join(OUTPUT)).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        match (&self.args.shell_command, good) {
            (Some(_), _) => output.into_owned(),
            (None, true) => String::new(),
            (None, false) => failures(&output),
        }
    }

    /// Runs the VM. Returns whether the command succeeded, and a summary.
    fn make(&self) -> Result<(bool, String)> {
        for earlier in [RESULTS, OUTPUT] {
            remove(&self.home.join(earlier))?;
        }
        let initrd = self.home.join("initrd");
        let modules = modules::read_modules(&self.kernel.modules)?;
        fs::write(&initrd, rootfs::with_modules(self.common.clone(), &modules)?)?;
        let limit = Duration::from_secs(self.args.timeout);
        let machine = Machine { image: &self.kernel.image, initrd: &initrd, home: &self.home, limit };
        let transfer = machine.run()?;
        for (name, contents) in &transfer.files {
            let name = Path::new(name).file_name().context("the VM sent a file without a name")?;
            fs::write(self.home.join(name), contents)?;
        }
        let output = String::from_utf8_lossy(&fs::read(machine.output())?).into_owned();
        let code = transfer.exit.unwrap_or(1);
        Ok((code == 0, summary(&output, code, &machine.output())))
    }
}

/// Removes a file of an earlier run, so that it is not taken for a result of this one.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The lab's lines about failures.
fn failures(output: &str) -> String {
    output.lines().filter(|line| line.starts_with(FAILED)).fold(String::new(), |all, line| all + line + "\n")
}

/// The lab's last line, else the exit code.
fn summary(output: &str, code: i32, log: &Path) -> String {
    let counts = output.lines().rfind(|line| line.contains(" passed, ") && line.ends_with(" failed"));
    match (counts, code) {
        (Some(counts), 0) => counts.to_owned(),
        (Some(counts), _) => format!("{counts} (see {})", log.display()),
        (None, code) => {
            let error = output.lines().rfind(|line| line.starts_with("error: "));
            format!("exit code {code}{}", error.map(|line| format!(", {line}")).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_series_of_numbers_only() {
        assert_eq!(series("6.12").as_deref(), Ok("6.12"));
        assert_eq!(series("7.x").as_deref(), Ok("7"));
        for wrong in ["", "6.", "../x", "6.12-rc1"] {
            assert!(series(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn summary_is_the_last_line_or_the_exit_code() {
        let log = Path::new("l");
        assert_eq!(summary("x\n3 passed, 0 failed\n", 0, log), "3 passed, 0 failed");
        assert_eq!(summary("3 passed, 1 failed\nerror: 1 line\n", 1, log), "3 passed, 1 failed (see l)");
        assert_eq!(summary("error: no bpf\n", 1, log), "exit code 1, error: no bpf");
        assert_eq!(summary("hello\n", 0, log), "exit code 0");
    }

    #[test]
    fn extracts_only_failures() {
        let output = "row  vantage\nfailed: row 1 v4, all: expected a, got b\nfailed:   {}\n3 passed, 1 failed\n";
        assert_eq!(failures(output), "failed: row 1 v4, all: expected a, got b\nfailed:   {}\n");
        assert_eq!(failures("3 passed, 0 failed\n"), "");
    }

    #[test]
    fn a_skipped_kernel_has_not_passed() {
        let tally = |failed: &[&str], skipped: &[&str]| Tally {
            passed: 1,
            failed: failed.iter().map(ToString::to_string).collect(),
            skipped: skipped.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(tally(&[], &[]).outcome().unwrap(), Outcome::Passed);
        assert!(matches!(tally(&[], &["7: gone"]).outcome().unwrap(), Outcome::Skipped(_)));
        assert!(tally(&["6.1"], &["7: gone"]).outcome().is_err());
        assert!(tally(&[], &["7: gone"]).good());
        assert!(!Tally { passed: 0, ..tally(&[], &["7: gone"]) }.good());
    }
}
