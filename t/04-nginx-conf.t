# conf/nginx.conf and conf/si-locations.conf as they are deployed: what nginx itself answers, and how it logs.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP qw(decode_json);
use Test::More;
use SI::Test;

my $si = SI::Test->start(http2 => 1);
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
like $si->http(GET => '/openapi.json')->{body}, qr/"openapi"/, 'openapi.json';

# HTTP/2 with prior knowledge.
my (undef, $out) = SI::Test::run({}, 'curl', '-s', '-i', '--http2-prior-knowledge', '-H', "Authorization: $auth{Authorization}", $si->http2_url . '/v1/conversations');
like $out, qr{^HTTP/2 200\b.*"data":}s, 'the API by HTTP/2';

# The access log.
my $c = $si->json(POST => '/v1/conversations', {})->{json};
my $t = $si->json(POST => "/v1/conversations/$c->{id}/turns?ticket=secret-4711", { input => 'hello' });
my $line = poll_until { my ($l) = grep { m{/turns"} } split /\n/, slurp($si->dir . '/logs/access.log'); $l } 30, 'the line of the access log';
my $log = eval { decode_json($line) };
ok $log, 'a line of the access log is JSON' or diag $line;
like $log->{$_}, qr/^[0-9a-f-]{36}$/, "it names the $_" for qw(tenant user turn);
like $log->{worker}, qr/^\d+\.\d+$/, 'and the worker';
like $log->{first_byte}, qr/^\d+\.\d{3}$/, 'and the time to the first byte';
is $log->{path}, "/v1/conversations/$c->{id}/turns", 'and the path without the query';
my @problems = grep { /"path":"\/_problem/ } split /\n/, slurp($si->dir . '/logs/access.log');
is scalar @problems, 1, 'a refused request is logged with its own path' or diag @problems;
done_testing;
