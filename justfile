# The one home of commands. The checks themselves are steps of .ci/run, which needs no `just`.

# What there is.
default:
    @just --list

# Everything that CI runs, with its rules: a missing server is a failure.
ci:
    CI=true bash .ci/run

# Before a commit: format, import cycles, links, lints.
check:
    bash .ci/run fmt layers docs clippy

# Formats everything.
fmt:
    cargo fmt --all

# Lints of everything, bench too; a warning is an error.
clippy:
    bash .ci/run clippy

# All tests of all crates with all features. Servers that are missing are skipped, loudly.
test:
    bash .ci/run doctest test

# API documentation; a broken link is an error.
doc:
    bash .ci/run doc

# The two crates on Rust 1.85 with default features.
msrv:
    bash .ci/run msrv

# Import cycles, and files that have grown too long.
layers:
    bash .ci/run layers

# Licences, advisories, sources of all dependencies.
deny:
    bash .ci/run deny

# The gRPC sample service of orders on embedded SQLite; `just orders --help` for its options.
orders *args:
    cargo run --release -p orders -- {{args}}

# A client that places orders at once from many tasks and checks the books; brings its own service unless there is `--url`.
orders-client *args:
    cargo run --release -p orders --example client -- {{args}}

# The sample service on embedded SQLite; `just airports --help` for its options.
airports *args:
    cargo run --release -p airports -- {{args}}

# Kills PostgreSQL under wrk, brings it back, and tells how long the service took to recover. Needs wrk and PostgreSQL.
outage *args:
    cargo run --release -p airports --example outage -- {{args}}

# Queries that many clients on one key cost PostgreSQL: a cold key, and a popular one that is loaded again. Needs PostgreSQL.
stampede *args:
    cargo run --release -p airports --example stampede -- {{args}}

# Hit ratio after `kill -9` and a restart of the sample service, with and without its snapshot.
warm-restart *args:
    cargo run --release -p airports --example warm-restart -- {{args}}

# Three instances of the sample service on one PostgreSQL and one Redis, under load, while instances and Redis are killed and the bus is cut.
cluster *args:
    cargo run --release -p airports --example cluster -- {{args}}

# Hit ratios on trace files, beside other caches and the references.
hit-ratio *args:
    cargo run --release -p millpond-bench -- hit-ratio {{args}}

# Percentiles of single operations during churn, beside other caches.
latency *args:
    cargo run --release -p millpond-bench -- latency {{args}}

# The longest pause of one insert while a cache grows.
growth *args:
    cargo run --release -p millpond-bench -- growth {{args}}

# Entries over capacity, seen by a thread that looks while others write.
bound *args:
    cargo run --release -p millpond-bench -- bound {{args}}

# Bytes per entry beside other caches.
memory *args:
    cargo run --release -p millpond-bench -- memory {{args}}

# Instructions for one operation beside other caches. Needs valgrind.
instructions *args:
    cargo run --release -p millpond-bench -- instructions {{args}}

# Time per operation beside other caches, as ratios; `just throughput --help` for workloads and threads.
throughput *args:
    cargo run --release -p millpond-bench -- throughput {{args}}

# What each feature of the cache costs on a hit, against targets; one load for many callers; inserts while a million entries expire.
features *args:
    cargo run --release -p millpond-bench -- features {{args}}

# Time and instructions of a borrow and its return, and fairness, beside other pools. Instructions need valgrind.
pool *args:
    cargo run --release -p millpond-bench -- pool {{args}}

# Requests per second and latencies of pools of PostgreSQL connections. Needs PostgreSQL.
pool-db *args:
    cargo run --release -p millpond-bench -- pool-db {{args}}

# What callers of pools see of faults: errors, stalls, recovery, dials, slots lost. Needs PostgreSQL; takes 10 minutes.
pool-faults *args:
    cargo run --release -p millpond-bench -- pool-faults {{args}}

# All of the cache's on one page with charts (target/report) and in docs/benchmarks.md, and the figures beside the targets.
report *args:
    cargo run --release -p millpond-bench -- report {{args}}

# Puts and statements per second of counters on SQLite: plain SQL, write-through, write-behind, with a journal.
write-behind *args:
    cargo run --release -p millpond-bench -- write-behind {{args}}

# Kills a process that writes behind, with a journal and without, and counts what was acknowledged, found, lost, reordered.
crash rounds="200":
    cargo run --release -p millpond-cache --features journal --example crash -- {{rounds}}

# The primitives of cache, policy and pool alone, by criterion; `just bench hit` runs those that are called so.
bench *args:
    cargo bench -p millpond-bench -- {{args}}

# The slow proofs, each where its tools are, and a table of what ran; the stages below, one after the other.
deep:
    bash .ci/deep

# Models of the lock-free protocols: all interleavings up to a bound on preemptions.
loom preemptions="3":
    PREEMPTIONS={{preemptions}} bash .ci/deep loom

# Random schedules of the whole cache and the whole pool, this many of each of two kinds for every test.
shuttle schedules="5000":
    SCHEDULES={{schedules}} bash .ci/deep shuttle

# Undefined behaviour and data races, under both borrow models. Needs a nightly toolchain with Miri.
miri:
    bash .ci/deep miri

# ThreadSanitizer, AddressSanitizer and LeakSanitizer over the whole test suite of the cache. Needs nightly with rust-src.
sanitize:
    bash .ci/deep sanitize

# Random operations against a model, this long for each target. Needs cargo-fuzz and a nightly toolchain.
fuzz seconds="60":
    FUZZ_SECONDS={{seconds}} bash .ci/deep fuzz
