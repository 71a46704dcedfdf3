# Short words for the commands used every day. Plain cargo works as well; nothing hides here.

# The list of recipes.
default:
    @just --list

# Compile for trying things out.
build:
    cargo build

# Compile as it is shipped.
release:
    cargo build --release

# All tests, or those whose name contains FILTER.
test *FILTER:
    cargo test {{FILTER}}

# Formatting and clippy, as .ci/run asks for them.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Format everything.
fmt:
    cargo fmt

# Write the generated reference pages anew, and check the documentation in the code.
docs:
    GANTRY_BLESS=1 cargo test --test it docs
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib

# Benchmarks: counts and ratios, held against their budgets.
bench *FILTER:
    cargo bench {{FILTER}}

# Licences, advisories and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny check

# Any verb against the embedded AWS: `just sandbox plan`, `just sandbox status --all`.
sandbox +ARGS:
    cargo run -- --sandbox {{ARGS}}

# Install the proof-of-concept size in the embedded AWS, look at it, and take it down again.
tour DOMAIN="gitlab.example.com":
    cargo run -- --sandbox install --profile poc-2k --domain {{DOMAIN}} --yes
    cargo run -- --sandbox status
    cargo run -- --sandbox plan
    cargo run -- --sandbox destroy --delete-data

# Everything a change must pass.
ci:
    .ci/run
