//! Routes and policy rules.
