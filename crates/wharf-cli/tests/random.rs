//! Random operations from a seed, each checked against a model: what the ledger, the relay and the
//! kernel have is what the model says, and nothing leaks.

#[cfg(test)]
mod random {
    mod control;
    mod dice;
    mod fault;
    mod kernel;
    mod model;
    mod operation;
    mod play;
    mod recipes;
    mod seeds;
    mod site;
    mod sockets;
    mod talk;
    mod view;
    mod wanted;
}
