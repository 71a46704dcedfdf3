//! Bytes that gantry moves itself, against a real S3 server on loopback that checks signatures and checksums.
//!
//! The transfer of the large tests is a process of its own, so that its memory can be read and it can be killed.

mod job;
mod large;
mod server;
mod small;
mod strict;
