//! The hostile client at the level of sockets and HTTP: requests that are none, sockets that do
//! nothing, floods.

mod raw;
mod corpus;
mod paths;
mod bodies;
mod slow;
mod slow_readers;
mod crowds;
mod floods;
mod strangers;
mod control;
