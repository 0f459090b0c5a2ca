//! Messages under inspection: no input panics, and what JSON inspection lets through names no
//! write.
#![no_main]

use etcd_proxy::proxy::readonly::What;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    for what in [What::Txn, What::Alarm] {
        let _ = what.grpc_is_readonly(message);
        let Ok(body) = what.json(message) else { continue };
        for write in ["\"request_put\":", "\"request_delete_range\":", "\"action\":"] {
            assert!(!body.windows(write.len()).any(|part| part == write.as_bytes()));
        }
        assert_eq!(what.json(&body).ok().as_ref(), Some(&body));
    }
});
