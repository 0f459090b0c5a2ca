//! Users, roles and passwords through the daemon.

use prost::Message;

use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::rpc::{self, Done, Fields, PutRequest};
use crate::support::{run, shared};

on_each_generation!(users_see_what_their_roles_allow, a_token_stays_valid_on_one_client_connection);

fn with_auth(generation: Generation) -> Fixture {
    let fixture = Fixture::new(generation, 3);
    let etcdctl = fixture.etcdctl();
    etcdctl.run(&["user", "add", "root:secret"]);
    etcdctl.run(&["user", "grant-role", "root", "root"]);
    etcdctl.run(&["role", "add", "reader"]);
    etcdctl.run(&["role", "grant-permission", "reader", "read", "public/", "--prefix=true"]);
    etcdctl.run(&["user", "add", "ann:pw"]);
    etcdctl.run(&["user", "grant-role", "ann", "reader"]);
    etcdctl.run(&["auth", "enable"]);
    fixture
}

fn users_see_what_their_roles_allow(generation: Generation) {
    let _machine = shared();
    let fixture = with_auth(generation);
    let nobody = fixture.etcdctl();
    let root = fixture.etcdctl().with("--user=root:secret");
    let ann = fixture.etcdctl().with("--user=ann:pw");
    root.run(&["put", "public/a", "seen"]);
    root.run(&["put", "private/a", "hidden"]);
    assert_eq!(ann.run(&["get", "--print-value-only", "public/a"]), "seen\n");
    for denied in [ann.try_run(&["get", "private/a"]), ann.try_run(&["put", "public/a", "x"])] {
        let denied = denied.expect_err("more than the role allows");
        assert!(denied.contains("permission denied"), "{denied}");
    }
    let denied = nobody.try_run(&["get", "public/a"]).expect_err("nobody may read");
    assert!(denied.contains("user name is empty"), "{denied}");
    let wrong = fixture.etcdctl().with("--user=ann:other").try_run(&["get", "public/a"]);
    assert!(wrong.expect_err("a wrong password").contains("authentication failed"));
    root.run(&["auth", "disable"]);
    assert_eq!(nobody.run(&["get", "--print-value-only", "private/a"]), "hidden\n");
}

/// A simple token is valid only at the member that issued it until the others have applied it.
fn a_token_stays_valid_on_one_client_connection(generation: Generation) {
    let _machine = shared();
    let fixture = with_auth(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let login = Fields::new().text(1, "root").text(2, "secret");
        let answer = channel.unary_bytes("/etcdserverpb.Auth/Authenticate", login.bytes()).await;
        let answer = Token::decode(answer.expect("a token")).expect("a token");
        let channel = channel.with("token", &answer.token);
        for number in 0..100 {
            let put = PutRequest::new("token", &number.to_string());
            let result = channel.unary::<Done>(rpc::PUT, &put).await;
            result.unwrap_or_else(|failure| panic!("put {number}: {failure}"));
        }
    });
}

#[derive(Clone, PartialEq, Message)]
struct Token {
    #[prost(string, tag = "2")]
    token: String,
}
