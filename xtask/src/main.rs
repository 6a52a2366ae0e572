//! The developer commands (`cargo xtask --help`): they build, run, check and package rstwatch, and start the crates `lab`,
//! `lab-vm` and `bench`.

mod browser;
mod builder;
mod dashboards;
mod deb;
mod dist;
mod ebpf;
mod flags;
mod image;
mod licences;
mod linker;
mod links;
mod lock;
mod packaging;
mod rules;
mod run;
mod shared_build;
#[path = "../../rstwatch/ebpf/sources.rs"]
mod sources;
mod steps;
mod strip;
mod test;
mod toolchain;
mod words;
mod wrapper;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dev_support::setup::{self, Purpose};

/// Builds, runs and tests rstwatch
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build rstwatch and run its agent in the foreground
    Run(run::RunArgs),
    /// Run every check of the project
    Test(test::TestArgs),
    /// Build the eBPF object, or check the committed one
    Ebpf(ebpf::EbpfArgs),
    /// Write the Grafana dashboards, and run their queries in Prometheus
    Dashboards(dashboards::DashboardsArgs),
    /// Make every kind of reset, and judge rstwatch's verdict on each
    Lab(lab::LabArgs),
    /// Test the status page in a browser, with resets made in the lab's network
    Browser(browser::BrowserArgs),
    /// Write the generated files in deploy/kubernetes; check manifests, unit, man pages and completions
    Packaging,
    /// Serve a fake Kubernetes API for an agent
    Api(lab::api::ApiArgs),
    /// Build the daemon as a static binary
    Dist,
    /// Build the container image: target/image/rstwatch.tar
    Image(image::ImageArgs),
    /// Build the Debian package: target/deb
    Deb(deb::DebArgs),
    /// Boot Debian's kernels in qemu, and run the lab in each
    Vm(lab_vm::VmArgs),
    /// Measure the cost of rstwatch, compared with no tracing and with other tools
    Bench(bench::BenchArgs),
    /// Run the agent under millions of resets, and kill and stop it during the run
    Soak(bench::soak::SoakArgs),
}

fn main() -> ExitCode {
    // This program also starts copies of itself for other roles. Each call returns unless the environment requests its role.
    lab_vm::run_init_if_requested();
    lab::run_helper_if_requested();
    image::run_pod_if_requested();
    bench::take_role_if_requested();
    if let Some(error) = wrapper::become_rustc_if_requested() {
        eprintln!("error: cannot start rustc: {error}");
        return ExitCode::FAILURE;
    }
    let done = match Cli::parse().task {
        Task::Run(args) => run::run(&args).map(|()| true),
        Task::Test(args) => Ok(test::test(&args)),
        Task::Ebpf(args) => ebpf::ebpf(&args).map(|()| true),
        Task::Dashboards(args) => dashboards::dashboards(&args).map(|()| true),
        Task::Lab(args) => setup::ensure(Purpose::Lab).and_then(|()| lab::lab(&args)).map(|()| true),
        Task::Browser(args) => browser::browser(&args).map(|()| true),
        Task::Dist => dist::dist().map(|()| true),
        Task::Image(args) => image::image(&args).map(|()| true),
        Task::Deb(args) => deb::deb(&args).map(|()| true),
        Task::Packaging => packaging::packaging().map(|()| true),
        Task::Api(args) => lab::api::api(&args).map(|()| true),
        Task::Vm(args) => lab_vm::vm(&args),
        Task::Bench(args) => bench::bench(&args),
        Task::Soak(args) => bench::soak::soak(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // The command has already reported the failure.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
