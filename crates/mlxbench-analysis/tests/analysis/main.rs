//! Statistics on simulated experiments, and beside an independent implementation.

mod betting;
mod change_points;
mod coverage;
mod gate;
mod luck;
mod noise;
mod statistics;
mod sweeps;
