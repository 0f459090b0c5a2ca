"""The configuration files of the proxies that need one: each the best that a careful operator would write.

One worker thread, connections to members kept and shared, no access log, no limit that would cut a watch or recycle a
connection in the middle of a run. `suite` is `http1`, `grpc` (h2c on both sides), `watch` (HTTP/1.1 streams) or one of the
TLS suites, whose listeners speak TLS 1.2 and 1.3 with one ECDSA P-256 certificate and resume sessions; members are plain.
"""

import json

from harness.backend import nginx_user

HAPROXY = """
global
    nbthread 1
    maxconn {connections}
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
{options}frontend clients
    bind 127.0.0.1:{port}{proto}{tls}
    default_backend members
backend members
    balance roundrobin
{servers}
"""

NGINX = """
{user}worker_processes 1;
worker_rlimit_nofile {files};
daemon off;
pid {dir}/pid;
error_log {dir}/error.log crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    upstream members {{
{servers}
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port}{http2} backlog=4096;
{tls}        location / {{
{location}
        }}
    }}
}}
"""
NGINX_LOCATION = {
    "http1": 'proxy_pass http://members; proxy_http_version 1.1; proxy_set_header Connection "";',
    "grpc": "grpc_pass grpc://members; grpc_read_timeout 1h; grpc_send_timeout 1h;",
    # Buffering off, the common advice for streams through nginx.
    "watch": 'proxy_pass http://members; proxy_http_version 1.1; proxy_set_header Connection "";'
    " proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 1h;",
}


NGINX_TLS = """        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
"""


def haproxy(suite, port, members, files, pair=None):
    """Returns HAProxy's file: one thread, TCP health checks, server connections shared by all clients."""
    proto = " proto h2" if suite == "grpc" else ""
    servers = "\n".join(f"    server m{i} 127.0.0.1:{m}{proto} check" for i, m in enumerate(members))
    # Without this, a client that closes its connection during a watch leaves both connections open.
    options = "    option abortonclose\n" if suite == "watch" else ""
    # HAProxy refuses to start if it may not open two descriptors for each connection.
    connections = min(8000, files // 2 - 100)
    tls = f" ssl crt {pair[2]} alpn http/1.1" if pair else ""
    return HAPROXY.format(port=port, proto=proto, tls=tls, servers=servers, options=options, connections=connections)


def nginx(suite, port, members, directory, files, pair=None):
    """Returns nginx's file: one worker, upstream connections kept."""
    return NGINX.format(
        user=nginx_user(),
        files=files,
        dir=directory,
        port=port,
        servers="\n".join(f"        server 127.0.0.1:{m};" for m in members),
        http2=" http2" if suite == "grpc" else " ssl" if pair else "",
        tls=NGINX_TLS.format(cert=pair[0], key=pair[1]) if pair else "",
        location="            " + NGINX_LOCATION["http1" if pair else suite],
    )


def envoy(suite, port, members):
    """Returns Envoy's file: no admin port, no circuit breaker (default limits: 1024), no request IDs, no stream timeouts."""
    h2 = suite == "grpc"
    connections = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _extension("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "clients",
            "codec_type": "HTTP2" if h2 else "HTTP1",
            "generate_request_id": False,
            "stream_idle_timeout": "0s",
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": _extension("filters.http.router.v3.Router"),
                        "suppress_envoy_headers": True,
                    },
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "members",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "members", "timeout": "0s"}}],
                    }
                ]
            },
        },
    }
    unlimited = {name: 1_000_000 for name in ("max_connections", "max_pending_requests", "max_requests")}
    cluster = {
        "name": "members",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {
            "cluster_name": "members",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(m)}} for m in members]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _extension("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options" if h2 else "http_protocol_options": {}},
            }
        },
    }
    listener = {"name": "clients", "address": _address(port), "filter_chains": [{"filters": [connections]}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _extension(name):
    return f"type.googleapis.com/envoy.extensions.{name}"


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
