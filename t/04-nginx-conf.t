# conf/nginx.conf and conf/si-locations.conf as they are deployed: what nginx itself answers, and how it logs.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use Test::More;
use SI::Test;

my $si = SI::Test->start(http2 => 1, limits => 1, nginx => 'si_limit_zone $si_caller zone=caller:8m rate=1r/m burst=60');
my %auth = (Authorization => 'Bearer ' . $si->key);

sub problem {
    my ($r, $status, $code, $name) = @_;
    is $r->{status}, $status, "$name: status $status" or diag explain $r;
    is $r->{headers}{'content-type'}, 'application/problem+json', "$name: problem+json";
    my $p = eval { decode_json($r->{body}) } || {};
    is $p->{code}, $code, "$name: code $code";
    is $p->{status}, $status, "$name: the status in the body";
}

problem $si->http(GET => '/nope'), 404, 'not_found', 'no such file';
problem $si->http(POST => '/v1/conversations', { %auth, 'Content-Type' => 'application/json', 'Content-Length' => 9 << 20 }, '{'), 413, 'body_too_large', 'a length over the limit';
my $big = '{"title":"' . ('x' x (10 << 20)) . '"}';
problem $si->http(POST => '/v1/conversations', { %auth, 'Content-Type' => 'application/json' }, $big), 413, 'body_too_large', 'a body over the limit';
my $chunk = sprintf "%x\r\n%s\r\n", 1 << 20, 'x' x (1 << 20);
problem $si->raw("POST /v1/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . $si->key . "\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" . $chunk x 10 . "0\r\n\r\n"),
    413, 'body_too_large', 'chunks over the limit';
problem $si->http(GET => '/v1/' . 'x' x 20000), 414, 'uri_too_long', 'a long path';
problem $si->http(GET => '/v1/conversations', { %auth, 'X-Big' => 'x' x 20000 }), 431, 'headers_too_large', 'a long header';
problem $si->raw("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n"), 400, 'bad_request', 'two hosts';
problem $si->raw("nonsense\r\n\r\n"), 400, 'bad_request', 'no HTTP at all';
problem $si->http(POST => '/', {}, 'x'), 405, 'method_not_allowed', 'a POST to a file';
problem $si->http(GET => '/_problem/413'), 404, 'not_found', 'the pages of errors cannot be asked for';

my $r = $si->http(GET => '/healthz');
is $r->{status}, 200, 'healthz';
is $r->{headers}{server}, 'nginx', 'no version is told';
is $si->http(GET => '/readyz')->{status}, 200, 'readyz';
is $si->http(GET => '/')->{headers}{'content-type'}, 'text/html; charset=utf-8', 'the console';
is_deeply [grep { ref ne 'HASH' } $si->status], [], 'status is JSON';
# Another address than the two that are allowed, of the same machine.
sub from_elsewhere {
    my $path = shift;
    my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.2', PeerAddr => '127.0.0.1', PeerPort => $si->port) or die "connect: $!";
    print $s "GET $path HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Si-Internal: 1\r\nConnection: close\r\n\r\n";
    my $said = do { local $/; <$s> };
    return $said =~ m{\AHTTP/1.1 (\d+)} ? ($1, $said) : (0, $said);
}
for my $path ('/status', '/metrics') {
    my ($status, $said) = from_elsewhere($path);
    is $status, 403, "$path answers the machine itself only";
    unlike $said, qr/si_calls|"edge"/, 'and says nothing to others';
    is $si->http(GET => $path)->{status}, 200, 'to which it does';
}
is +(from_elsewhere('/healthz'))[0], 200, '/healthz answers anybody';
like $si->http(GET => '/openapi.json')->{body}, qr/"openapi"/, 'openapi.json';

my $csp = $si->http(GET => '/')->{headers}{'content-security-policy'};
like $csp, qr/\Q$_\E(?:;|$)/, "the console's policy says $_" for "default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'";
unlike $csp, qr/unsafe|\*|data:/, 'and nothing lax';
is $si->http(GET => '/')->{headers}{'x-content-type-options'}, 'nosniff', 'nosniff';
is $si->http(GET => '/app.js')->{headers}{'referrer-policy'}, 'no-referrer', 'no-referrer';

# HTTP/2 with prior knowledge.
my (undef, $out) = SI::Test::run({}, 'curl', '-s', '-i', '--http2-prior-knowledge', '-H', "Authorization: $auth{Authorization}", $si->http2_url . '/v1/conversations');
like $out, qr{^HTTP/2 200\b.*"data":}s, 'the API by HTTP/2';

# The access log.
my $c = $si->json(POST => '/v1/conversations', {})->{json};
my $t = $si->json(POST => "/v1/conversations/$c->{id}/turns?q=secret-4711", { input => 'hello' });
my $line = poll_until { my ($l) = grep { m{/turns"} } split /\n/, slurp($si->dir . '/logs/access.log'); $l } 30, 'the line of the access log';
my $log = eval { decode_json($line) };
ok $log, 'a line of the access log is JSON' or diag $line;
like $log->{$_}, qr/^[0-9a-f-]{36}$/, "it names the $_" for qw(tenant user turn);
like $log->{worker}, qr/^\d+\.\d+$/, 'and the worker';
like $log->{first_byte}, qr/^\d+\.\d{3}$/, 'and the time to the first byte';
is $log->{path}, "/v1/conversations/$c->{id}/turns", 'and the path without the query';
my @problems = grep { /"path":"\/_problem/ } split /\n/, slurp($si->dir . '/logs/access.log');
is scalar @problems, 1, 'a refused request is logged with its own path' or diag @problems;

subtest 'the server with TLS' => sub {
    my ($conf, $dir, $port) = (slurp($si->dir . '/nginx.conf'), $si->dir, free_port());
    my ($root) = $conf =~ /^\s*(root .*;)$/m;
    my ($include) = $conf =~ /^\s*(include \S+si-locations\.conf;)$/m;
    $conf =~ s{^    # TLS begins\n(.*)^    # TLS ends\n}{$1 =~ s/^    # ?/    /gmr}ems or die 'no block for TLS';
    $conf =~ s/^\s*listen 127.*\n//m;             # the plain server keeps a port of its own
    $conf =~ s/server \{/server { listen unix:$dir\/run\/plain.sock;/;
    $conf =~ s/listen 443/listen 127.0.0.1:$port/g;
    $conf =~ s/root \/usr.*;/$root/;
    $conf =~ s/include \/etc\/si\/si-locations\.conf;/$include/;
    $conf =~ s{/etc/si/tls/(?:fullchain|key)\.pem}{$dir/tls.pem}g;
    $conf =~ s{/etc/si/origin-secrets}{$dir/origin-secrets};
    $conf =~ s/\bnginx\.(pid|log)\b/tls-nginx.$1/g;
    SI::Test::run({}, 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=api.example.com', '-keyout', "$dir/tls.pem", '-out', "$dir/tls.crt");
    for (["$dir/tls.pem", slurp("$dir/tls.pem") . slurp("$dir/tls.crt")], ["$dir/origin-secrets", "a-secret-of-cloudfront\n"], ["$dir/tls.conf", $conf]) {
        open my $fh, '>', $_->[0] or die "$_->[0]: $!";
        print $fh $_->[1];
    }
    my ($nginx) = readlink('/proc/' . $si->nginx_pid . '/exe');
    my @nginx = ($nginx, '-p', "$dir/", '-c', "$dir/tls.conf", '-e', "$dir/logs/tls-nginx.log");
    my ($rc, $out) = SI::Test::run({ env => { ASAN_OPTIONS => 'detect_leaks=0' } }, @nginx, '-t');
    is $rc, 0, 'nginx -t takes it' or return diag $out;
    ($rc, $out) = SI::Test::run({ env => { ASAN_OPTIONS => 'detect_leaks=0' } }, @nginx);
    is $rc, 0, 'it starts' or return diag $out;
    my $get = sub {
        my ($name, $path, @more) = @_;
        (undef, my $said) = SI::Test::run({}, 'curl', '-s', '-S', '-k', '-i', '--resolve', "$name:$port:127.0.0.1", @more, "https://$name:$port$path");
        return $said;
    };
    my @secret = ('-H', 'X-Si-Origin: a-secret-of-cloudfront');
    like $get->('other.example.com', '/healthz'), qr/^curl: .*unrecognized name/, 'another name gets no handshake';
    like $get->('api.example.com', '/healthz'), qr{^HTTP/2 200}, 'a load balancer asks whether it lives';
    like $get->('api.example.com', '/v1/conversations', '-H', "Authorization: $auth{Authorization}"), qr/"code":"origin_required"/, 'others need the secret';
    poll_until { $get->('api.example.com', '/v1/conversations', @secret, '-H', "Authorization: $auth{Authorization}") =~ m{^HTTP/2 200\b.*"data":}s } 30, 'the API over TLS';
    like $get->('api.example.com', '/v1/conversations', @secret), qr{^HTTP/2 401\b}, 'and then a key';
    $get->('api.example.com', '/v1/conversations?mark', @secret, '-H', 'CloudFront-Viewer-Address: 198.51.100.10:46532', '-A', 'marked');
    my $seen = poll_until { my ($l) = grep { /"agent":"marked"/ } split /\n/, slurp("$dir/logs/access.log"); $l } 30, 'the line of the access log';
    is decode_json($seen)->{client}, '198.51.100.10', "the viewer's address is in the access log";
    my ($pid) = slurp("$dir/run/tls-nginx.pid") =~ /^(\d+)/;
    kill QUIT => $pid;
    poll_until { !SI::Test::alive($pid) } 30, 'its end';
};

# Limits: each answer of the API has them, and what they refuse.
$r = $si->http(GET => '/v1/conversations', { %auth });
like $r->{headers}{'ratelimit-policy'}, qr/^"address";q=200;w=2, "caller";q=60;w=3600$/, 'the policies';
like $r->{headers}{ratelimit}, qr/^"caller";r=\d+;t=\d+$/, 'what is left';
my $n = 0;
$n++ until ($r = $si->http(GET => '/v1/conversations', { %auth }))->{status} != 200 || $n > 60;
problem $r, 429, 'rate_limited', 'past the limit';
like $r->{headers}{'retry-after'}, qr/^[1-9]\d?$/, 'and when to come back';
is $si->http(GET => '/readyz')->{status}, 200, 'readyz has no limit';
done_testing;
