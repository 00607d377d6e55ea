//! Publishing, with the real program: which host ports are taken, what the listings say of them,
//! how many can be had, and that they outlive what may die.

#[cfg(test)]
mod publishing {
    mod faults;
    mod listings;
    mod many;
    mod others;
    mod ports;
    mod scene;
}
