//! Messages that readonly inspects: no input panics, and JSON that passes contains no write.
#![no_main]

use etcd_proxy::proxy::readonly::InspectedRpc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    for rpc in [InspectedRpc::Txn, InspectedRpc::Alarm] {
        let _ = rpc.grpc_is_readonly(message);
        let Ok(body) = rpc.json(message) else { continue };
        for write in ["\"request_put\":", "\"request_delete_range\":", "\"action\":"] {
            assert!(!body.windows(write.len()).any(|part| part == write.as_bytes()));
        }
        assert_eq!(rpc.json(&body).ok().as_ref(), Some(&body));
    }
});
