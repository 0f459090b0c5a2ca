# Generated from the tables of commands and settings; see src/cli/manual.rs.

_etcd_proxy() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local commands='check print-config status reload promote version help' flags
    case $command in
    check)
        case $before in
        --format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$word"); return ;;
        --proxy) mapfile -t COMPREPLY < <(compgen -W 'on readonly off' -- "$word"); return ;;
        --rewrite-members) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --enable-pprof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --balance) mapfile -t COMPREPLY < <(compgen -W 'sticky p2c' -- "$word"); return ;;
        --require-cluster-proof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error dpanic panic fatal' -- "$word"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'auto text console json journald' -- "$word"); return ;;
        --debug) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --allow-upstream-cn) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --experimental-peer-skip-client-san-verification) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --tls-min-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --tls-max-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --discovery-fallback) mapfile -t COMPREPLY < <(compgen -W 'proxy exit' -- "$word"); return ;;
        --discovery-insecure-transport) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --discovery-insecure-skip-tls-verify) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --metrics) mapfile -t COMPREPLY < <(compgen -W 'basic extensive' -- "$word"); return ;;
        --logger) mapfile -t COMPREPLY < <(compgen -W 'capnslog zap' -- "$word"); return ;;
        --enable-log-rotation) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --config-file | --data-dir | --admin-socket | --cert-file | --key-file | --trusted-ca-file | --client-crl-file | --upstream-cert-file | --upstream-key-file | --upstream-trusted-ca-file | --peer-cert-file | --peer-key-file | --peer-trusted-ca-file | --peer-crl-file | --discovery-cert | --discovery-key | --discovery-cacert) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --member-binary | --proxy-failure-wait | --proxy-refresh-interval | --proxy-dial-timeout | --proxy-write-timeout | --proxy-read-timeout | --listen-client-urls | --listen-client-http-urls | --listen-metrics-urls | --advertise-client-urls | --cors | --host-whitelist | --initial-cluster | --accept-cluster-id | --health-interval | --health-timeout | --name | --initial-advertise-peer-urls | --workers | --drain-timeout | --log-package-levels | --log-outputs | --client-cert-allowed-hostname | --self-signed-cert-validity | --peer-cert-allowed-cn | --peer-cert-allowed-hostname | --cipher-suites | --discovery | --discovery-token | --discovery-endpoints | --discovery-srv | --discovery-srv-name | --discovery-proxy | --discovery-dial-timeout | --discovery-request-timeout | --discovery-keepalive-time | --discovery-keepalive-timeout | --discovery-user | --discovery-password | --max-request-bytes | --max-concurrent-streams | --grpc-keepalive-min-time | --grpc-keepalive-interval | --grpc-keepalive-timeout | --log-rotation-config-json) return ;;
        esac
        flags='--strict --connect --format --proxy --member-binary --proxy-failure-wait --proxy-refresh-interval --proxy-dial-timeout --proxy-write-timeout --proxy-read-timeout --listen-client-urls --listen-client-http-urls --listen-metrics-urls --advertise-client-urls --rewrite-members --cors --host-whitelist --enable-pprof --initial-cluster --accept-cluster-id --balance --health-interval --health-timeout --require-cluster-proof --config-file --name --initial-advertise-peer-urls --data-dir --admin-socket --workers --drain-timeout --log-level --log-package-levels --log-outputs --log-format --debug --cert-file --key-file --trusted-ca-file --client-cert-auth --client-crl-file --client-cert-allowed-hostname --auto-tls --self-signed-cert-validity --upstream-cert-file --upstream-key-file --upstream-trusted-ca-file --allow-upstream-cn --peer-cert-file --peer-key-file --peer-trusted-ca-file --peer-client-cert-auth --peer-crl-file --peer-cert-allowed-cn --peer-cert-allowed-hostname --peer-auto-tls --experimental-peer-skip-client-san-verification --cipher-suites --tls-min-version --tls-max-version --discovery --discovery-token --discovery-endpoints --discovery-srv --discovery-srv-name --discovery-fallback --discovery-proxy --discovery-dial-timeout --discovery-request-timeout --discovery-keepalive-time --discovery-keepalive-timeout --discovery-insecure-transport --discovery-insecure-skip-tls-verify --discovery-cert --discovery-key --discovery-cacert --discovery-user --discovery-password --metrics --max-request-bytes --max-concurrent-streams --grpc-keepalive-min-time --grpc-keepalive-interval --grpc-keepalive-timeout --logger --enable-log-rotation --log-rotation-config-json'
        ;;
    print-config)
        case $before in
        -w) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$word"); return ;;
        --proxy) mapfile -t COMPREPLY < <(compgen -W 'on readonly off' -- "$word"); return ;;
        --rewrite-members) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --enable-pprof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --balance) mapfile -t COMPREPLY < <(compgen -W 'sticky p2c' -- "$word"); return ;;
        --require-cluster-proof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error dpanic panic fatal' -- "$word"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'auto text console json journald' -- "$word"); return ;;
        --debug) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --allow-upstream-cn) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --experimental-peer-skip-client-san-verification) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --tls-min-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --tls-max-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --discovery-fallback) mapfile -t COMPREPLY < <(compgen -W 'proxy exit' -- "$word"); return ;;
        --discovery-insecure-transport) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --discovery-insecure-skip-tls-verify) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --metrics) mapfile -t COMPREPLY < <(compgen -W 'basic extensive' -- "$word"); return ;;
        --logger) mapfile -t COMPREPLY < <(compgen -W 'capnslog zap' -- "$word"); return ;;
        --enable-log-rotation) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --config-file | --data-dir | --admin-socket | --cert-file | --key-file | --trusted-ca-file | --client-crl-file | --upstream-cert-file | --upstream-key-file | --upstream-trusted-ca-file | --peer-cert-file | --peer-key-file | --peer-trusted-ca-file | --peer-crl-file | --discovery-cert | --discovery-key | --discovery-cacert) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --member-binary | --proxy-failure-wait | --proxy-refresh-interval | --proxy-dial-timeout | --proxy-write-timeout | --proxy-read-timeout | --listen-client-urls | --listen-client-http-urls | --listen-metrics-urls | --advertise-client-urls | --cors | --host-whitelist | --initial-cluster | --accept-cluster-id | --health-interval | --health-timeout | --name | --initial-advertise-peer-urls | --workers | --drain-timeout | --log-package-levels | --log-outputs | --client-cert-allowed-hostname | --self-signed-cert-validity | --peer-cert-allowed-cn | --peer-cert-allowed-hostname | --cipher-suites | --discovery | --discovery-token | --discovery-endpoints | --discovery-srv | --discovery-srv-name | --discovery-proxy | --discovery-dial-timeout | --discovery-request-timeout | --discovery-keepalive-time | --discovery-keepalive-timeout | --discovery-user | --discovery-password | --max-request-bytes | --max-concurrent-streams | --grpc-keepalive-min-time | --grpc-keepalive-interval | --grpc-keepalive-timeout | --log-rotation-config-json) return ;;
        esac
        flags='-w --proxy --member-binary --proxy-failure-wait --proxy-refresh-interval --proxy-dial-timeout --proxy-write-timeout --proxy-read-timeout --listen-client-urls --listen-client-http-urls --listen-metrics-urls --advertise-client-urls --rewrite-members --cors --host-whitelist --enable-pprof --initial-cluster --accept-cluster-id --balance --health-interval --health-timeout --require-cluster-proof --config-file --name --initial-advertise-peer-urls --data-dir --admin-socket --workers --drain-timeout --log-level --log-package-levels --log-outputs --log-format --debug --cert-file --key-file --trusted-ca-file --client-cert-auth --client-crl-file --client-cert-allowed-hostname --auto-tls --self-signed-cert-validity --upstream-cert-file --upstream-key-file --upstream-trusted-ca-file --allow-upstream-cn --peer-cert-file --peer-key-file --peer-trusted-ca-file --peer-client-cert-auth --peer-crl-file --peer-cert-allowed-cn --peer-cert-allowed-hostname --peer-auto-tls --experimental-peer-skip-client-san-verification --cipher-suites --tls-min-version --tls-max-version --discovery --discovery-token --discovery-endpoints --discovery-srv --discovery-srv-name --discovery-fallback --discovery-proxy --discovery-dial-timeout --discovery-request-timeout --discovery-keepalive-time --discovery-keepalive-timeout --discovery-insecure-transport --discovery-insecure-skip-tls-verify --discovery-cert --discovery-key --discovery-cacert --discovery-user --discovery-password --metrics --max-request-bytes --max-concurrent-streams --grpc-keepalive-min-time --grpc-keepalive-interval --grpc-keepalive-timeout --logger --enable-log-rotation --log-rotation-config-json'
        ;;
    status)
        case $before in
        -w) mapfile -t COMPREPLY < <(compgen -W 'table simple json' -- "$word"); return ;;
        esac
        flags='-w --quiet'
        ;;
    reload)
        case $before in
        esac
        flags=''
        ;;
    promote)
        case $before in
        --proxy) mapfile -t COMPREPLY < <(compgen -W 'on readonly off' -- "$word"); return ;;
        --rewrite-members) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --enable-pprof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --balance) mapfile -t COMPREPLY < <(compgen -W 'sticky p2c' -- "$word"); return ;;
        --require-cluster-proof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error dpanic panic fatal' -- "$word"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'auto text console json journald' -- "$word"); return ;;
        --debug) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --allow-upstream-cn) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --experimental-peer-skip-client-san-verification) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --tls-min-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --tls-max-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --discovery-fallback) mapfile -t COMPREPLY < <(compgen -W 'proxy exit' -- "$word"); return ;;
        --discovery-insecure-transport) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --discovery-insecure-skip-tls-verify) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --metrics) mapfile -t COMPREPLY < <(compgen -W 'basic extensive' -- "$word"); return ;;
        --logger) mapfile -t COMPREPLY < <(compgen -W 'capnslog zap' -- "$word"); return ;;
        --enable-log-rotation) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --user-file | --etcd-environment-file | --etcd-data-dir | --systemctl | --config-file | --data-dir | --admin-socket | --cert-file | --key-file | --trusted-ca-file | --client-crl-file | --upstream-cert-file | --upstream-key-file | --upstream-trusted-ca-file | --peer-cert-file | --peer-key-file | --peer-trusted-ca-file | --peer-crl-file | --discovery-cert | --discovery-key | --discovery-cacert) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --name | --peer-url | --user | --etcd-unit | --proxy-unit | --member-binary | --proxy-failure-wait | --proxy-refresh-interval | --proxy-dial-timeout | --proxy-write-timeout | --proxy-read-timeout | --listen-client-urls | --listen-client-http-urls | --listen-metrics-urls | --advertise-client-urls | --cors | --host-whitelist | --initial-cluster | --accept-cluster-id | --health-interval | --health-timeout | --initial-advertise-peer-urls | --workers | --drain-timeout | --log-package-levels | --log-outputs | --client-cert-allowed-hostname | --self-signed-cert-validity | --peer-cert-allowed-cn | --peer-cert-allowed-hostname | --cipher-suites | --discovery | --discovery-token | --discovery-endpoints | --discovery-srv | --discovery-srv-name | --discovery-proxy | --discovery-dial-timeout | --discovery-request-timeout | --discovery-keepalive-time | --discovery-keepalive-timeout | --discovery-user | --discovery-password | --max-request-bytes | --max-concurrent-streams | --grpc-keepalive-min-time | --grpc-keepalive-interval | --grpc-keepalive-timeout | --log-rotation-config-json) return ;;
        esac
        flags='--name --peer-url --yes --dry-run --learner --user --user-file --etcd-environment-file --etcd-data-dir --etcd-unit --proxy-unit --systemctl --proxy --member-binary --proxy-failure-wait --proxy-refresh-interval --proxy-dial-timeout --proxy-write-timeout --proxy-read-timeout --listen-client-urls --listen-client-http-urls --listen-metrics-urls --advertise-client-urls --rewrite-members --cors --host-whitelist --enable-pprof --initial-cluster --accept-cluster-id --balance --health-interval --health-timeout --require-cluster-proof --config-file --initial-advertise-peer-urls --data-dir --admin-socket --workers --drain-timeout --log-level --log-package-levels --log-outputs --log-format --debug --cert-file --key-file --trusted-ca-file --client-cert-auth --client-crl-file --client-cert-allowed-hostname --auto-tls --self-signed-cert-validity --upstream-cert-file --upstream-key-file --upstream-trusted-ca-file --allow-upstream-cn --peer-cert-file --peer-key-file --peer-trusted-ca-file --peer-client-cert-auth --peer-crl-file --peer-cert-allowed-cn --peer-cert-allowed-hostname --peer-auto-tls --experimental-peer-skip-client-san-verification --cipher-suites --tls-min-version --tls-max-version --discovery --discovery-token --discovery-endpoints --discovery-srv --discovery-srv-name --discovery-fallback --discovery-proxy --discovery-dial-timeout --discovery-request-timeout --discovery-keepalive-time --discovery-keepalive-timeout --discovery-insecure-transport --discovery-insecure-skip-tls-verify --discovery-cert --discovery-key --discovery-cacert --discovery-user --discovery-password --metrics --max-request-bytes --max-concurrent-streams --grpc-keepalive-min-time --grpc-keepalive-interval --grpc-keepalive-timeout --logger --enable-log-rotation --log-rotation-config-json'
        ;;
    version)
        case $before in
        esac
        flags=''
        ;;
    help)
        case $before in
        esac
        flags=''
        ;;
    *)
        case $before in
        --proxy) mapfile -t COMPREPLY < <(compgen -W 'on readonly off' -- "$word"); return ;;
        --rewrite-members) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --enable-pprof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --balance) mapfile -t COMPREPLY < <(compgen -W 'sticky p2c' -- "$word"); return ;;
        --require-cluster-proof) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error dpanic panic fatal' -- "$word"); return ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'auto text console json journald' -- "$word"); return ;;
        --debug) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --allow-upstream-cn) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-client-cert-auth) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --peer-auto-tls) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --experimental-peer-skip-client-san-verification) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --tls-min-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --tls-max-version) mapfile -t COMPREPLY < <(compgen -W 'TLS1.2 TLS1.3' -- "$word"); return ;;
        --discovery-fallback) mapfile -t COMPREPLY < <(compgen -W 'proxy exit' -- "$word"); return ;;
        --discovery-insecure-transport) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --discovery-insecure-skip-tls-verify) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --metrics) mapfile -t COMPREPLY < <(compgen -W 'basic extensive' -- "$word"); return ;;
        --logger) mapfile -t COMPREPLY < <(compgen -W 'capnslog zap' -- "$word"); return ;;
        --enable-log-rotation) mapfile -t COMPREPLY < <(compgen -W 'true false' -- "$word"); return ;;
        --config-file | --data-dir | --admin-socket | --cert-file | --key-file | --trusted-ca-file | --client-crl-file | --upstream-cert-file | --upstream-key-file | --upstream-trusted-ca-file | --peer-cert-file | --peer-key-file | --peer-trusted-ca-file | --peer-crl-file | --discovery-cert | --discovery-key | --discovery-cacert) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        --member-binary | --proxy-failure-wait | --proxy-refresh-interval | --proxy-dial-timeout | --proxy-write-timeout | --proxy-read-timeout | --listen-client-urls | --listen-client-http-urls | --listen-metrics-urls | --advertise-client-urls | --cors | --host-whitelist | --initial-cluster | --accept-cluster-id | --health-interval | --health-timeout | --name | --initial-advertise-peer-urls | --workers | --drain-timeout | --log-package-levels | --log-outputs | --client-cert-allowed-hostname | --self-signed-cert-validity | --peer-cert-allowed-cn | --peer-cert-allowed-hostname | --cipher-suites | --discovery | --discovery-token | --discovery-endpoints | --discovery-srv | --discovery-srv-name | --discovery-proxy | --discovery-dial-timeout | --discovery-request-timeout | --discovery-keepalive-time | --discovery-keepalive-timeout | --discovery-user | --discovery-password | --max-request-bytes | --max-concurrent-streams | --grpc-keepalive-min-time | --grpc-keepalive-interval | --grpc-keepalive-timeout | --log-rotation-config-json) return ;;
        esac
        flags='--proxy --member-binary --proxy-failure-wait --proxy-refresh-interval --proxy-dial-timeout --proxy-write-timeout --proxy-read-timeout --listen-client-urls --listen-client-http-urls --listen-metrics-urls --advertise-client-urls --rewrite-members --cors --host-whitelist --enable-pprof --initial-cluster --accept-cluster-id --balance --health-interval --health-timeout --require-cluster-proof --config-file --name --initial-advertise-peer-urls --data-dir --admin-socket --workers --drain-timeout --log-level --log-package-levels --log-outputs --log-format --debug --cert-file --key-file --trusted-ca-file --client-cert-auth --client-crl-file --client-cert-allowed-hostname --auto-tls --self-signed-cert-validity --upstream-cert-file --upstream-key-file --upstream-trusted-ca-file --allow-upstream-cn --peer-cert-file --peer-key-file --peer-trusted-ca-file --peer-client-cert-auth --peer-crl-file --peer-cert-allowed-cn --peer-cert-allowed-hostname --peer-auto-tls --experimental-peer-skip-client-san-verification --cipher-suites --tls-min-version --tls-max-version --discovery --discovery-token --discovery-endpoints --discovery-srv --discovery-srv-name --discovery-fallback --discovery-proxy --discovery-dial-timeout --discovery-request-timeout --discovery-keepalive-time --discovery-keepalive-timeout --discovery-insecure-transport --discovery-insecure-skip-tls-verify --discovery-cert --discovery-key --discovery-cacert --discovery-user --discovery-password --metrics --max-request-bytes --max-concurrent-streams --grpc-keepalive-min-time --grpc-keepalive-interval --grpc-keepalive-timeout --logger --enable-log-rotation --log-rotation-config-json'
        ;;
    esac
    [ "$COMP_CWORD" -ne 1 ] || flags+=" $commands"
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
}

complete -F _etcd_proxy etcd-proxy
