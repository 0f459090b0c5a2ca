//! Writes the generated files (man pages, completions, references and the full example) into the
//! source tree. Run by `make generate`.

fn main() -> std::io::Result<()> {
    for (path, text) in etcd_proxy::cli::manual::files() {
        std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path), text)?;
        println!("{path}");
    }
    Ok(())
}
