# The one home of commands. CI and people call the same.

# What there is.
default:
    @just --list

# Everything that CI runs.
ci:
    bash .ci/run

# Fast checks while working.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Tests of everything but the bench; servers that are missing are skipped, loudly.
test:
    cargo test --all-features

# API documentation.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps

# The sample service on embedded SQLite.
airports *args:
    cargo run --release -p airports -- {{args}}

# Hit ratios on trace files, beside other caches.
hit-ratio *args:
    cargo run --release -p millpond-bench -- hit-ratio {{args}}

# All measurements; writes docs/report.html and docs/benchmarks.md.
report *args:
    cargo run --release -p millpond-bench -- report {{args}}

# The slow proofs: loom here; Miri where a nightly toolchain has it.
deep: loom miri

# Models of the lock-free protocols, all interleavings up to a bound.
loom:
    RUSTFLAGS="--cfg millpond_loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p millpond-cache --release --lib models

miri:
    @if cargo +nightly miri --version >/dev/null 2>&1; then \
        MIRIFLAGS="-Zmiri-many-seeds=0..8" cargo +nightly miri test -p millpond-cache --lib; \
        MIRIFLAGS="-Zmiri-tree-borrows" cargo +nightly miri test -p millpond-cache --lib; \
    else echo "Miri NOT RUN: no nightly toolchain with it here"; fi
