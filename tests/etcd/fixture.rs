//! Clusters that tests share, one for each version of etcd, with a daemon in front, and the macros
//! that make a test for each version.

use std::sync::LazyLock;

use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::proxy::Proxy;

/// A running cluster with a daemon in front. Tests use only keys below their own names.
pub struct Fixture {
    pub cluster: Cluster,
    pub proxy: Proxy,
}

impl Fixture {
    /// Starts a fixture with this many members for one test.
    pub fn new(generation: Generation, members: usize) -> Self {
        let cluster = Cluster::start(generation, members);
        let proxy = Proxy::before(&cluster).start();
        Self { cluster, proxy }
    }

    /// Returns the fixture that the tests of an etcd version share.
    pub fn shared(generation: Generation) -> &'static Self {
        static V3_4: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_4, 3));
        static V3_5: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_5, 3));
        static V3_6: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_6, 3));
        static V3_7: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_7, 3));
        match generation {
            Generation::V3_4 => &V3_4,
            Generation::V3_5 => &V3_5,
            Generation::V3_6 => &V3_6,
            Generation::V3_7 => &V3_7,
        }
    }

    /// Returns an etcdctl that talks to the daemon.
    pub fn etcdctl(&self) -> Etcdctl {
        self.proxy.etcdctl(self.cluster.generation)
    }
}

/// Makes a test for each named version, as in `[on_3_6 V3_6, on_3_7 V3_7]`, from functions that
/// take the version.
macro_rules! on_generations {
    (one $name:ident [$($test:ident $generation:ident),*]) => {
        mod $name {
            use $crate::fixture::when_here;
            use $crate::support::generation::Generation;

            $(
                #[test]
                fn $test() {
                    when_here(Generation::$generation, super::$name);
                }
            )*
        }
    };
    ($generations:tt $($name:ident),* $(,)?) => {
        $( $crate::fixture::on_generations!(one $name $generations); )*
    };
}

/// Makes a test for each version from functions that take the version: `on_each_generation!(name,
/// other_name)` gives `name::on_3_4`, `name::on_3_5`, `name::on_3_6`, `name::on_3_7`, and so on.
macro_rules! on_each_generation {
    ($($names:tt)*) => {
        $crate::fixture::on_generations!(
            [on_3_4 V3_4, on_3_5 V3_5, on_3_6 V3_6, on_3_7 V3_7] $($names)*
        );
    };
}

/// Like `on_each_generation!`, for features that 3.6 and later do not have.
macro_rules! on_generations_with_v2 {
    ($($names:tt)*) => {
        $crate::fixture::on_generations!([on_3_4 V3_4, on_3_5 V3_5] $($names)*);
    };
}

pub(crate) use {on_each_generation, on_generations, on_generations_with_v2};

/// Runs a test if the programs of this version are installed.
pub fn when_here(generation: Generation, body: fn(Generation)) {
    if generation.is_here() {
        body(generation);
    }
}
