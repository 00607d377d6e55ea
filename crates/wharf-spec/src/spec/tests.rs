mod properties;
mod seeds;
mod table;
