//! The Maildir as other programs see it, and repeated deliveries.

use e2e::Server;

#[test]
fn files_carry_time_queue_id_and_sizes_in_their_names() {
    let server = Server::start();
    let id = server.send("a@elsewhere.test", &["alice@example.test"], "Subject: name\n\nx\n");
    server.wait_for_mail("alice@example.test", 1);
    let entry = std::fs::read_dir(server.maildir("alice@example.test").join("new")).expect("new").next().expect("a file").expect("entry");
    let name = entry.file_name().into_string().expect("text");
    let size = entry.metadata().expect("metadata").len();
    assert!(name.contains(&format!(".{id}_")), "{name}");
    assert!(name.contains(&format!(",S={size},W=")), "{name} of {size} bytes");
}

#[test]
fn a_message_that_loops_back_is_stopped_and_its_sender_told() {
    let server = Server::start();
    server.send("bob@example.test", &["alice@example.test"], "Delivered-To: alice@example.test\nSubject: loop\n\nx\n");
    let bounce = &server.wait_for_mail("bob@example.test", 1)[0];
    assert!(bounce.contains("5.4.6"), "{bounce}");
    assert!(server.inbox("alice@example.test").is_empty());
}
