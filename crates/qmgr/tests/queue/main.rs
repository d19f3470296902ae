//! The whole queue manager, with a spool writer as smtpd has it in front and scripted servers behind.

mod drops;
mod flow;
mod house;
mod leaving;
mod orders;
mod partners;
mod reports;
mod restart;
mod wishes;
