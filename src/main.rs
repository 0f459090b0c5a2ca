//! The etcd-proxy binary: hands the command line and the environment to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    etcd_proxy::cli::main(std::env::args_os().skip(1).collect(), std::env::vars_os().collect())
}
