# Callers who take their time, and too many of one: conf/nginx.conf with shorter times.
use strict;
use warnings;
use lib 't/lib';
use IO::Select;
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use Test::More;
use SI::Test;

my $si = SI::Test->start(nginx => 'client_header_timeout 1s;client_body_timeout 1s;limit_conn si_addr 2;limit_conn_zone $binary_remote_addr zone=si_addr:1m');

# Sends the first bytes, then each of the rest when nothing has happened for 0.1 s, until the other side closes: what it said.
sub dribble {
    my ($first, $rest, $name) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $si->port) or die "connect: $!";
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, $first;
    my ($said, $end) = ('', SI::Test::now_ms() + 30_000);
    while (SI::Test::now_ms() < $end) {
        if (IO::Select->new($s)->can_read(0.1)) {
            my $n = sysread $s, $said, 4096, length $said;
            return $said if !$n;
        } elsif ($rest) {
            syswrite $s, 'x';
        }
    }
    fail "$name: still open after 30 s";
    return $said;
}

my $auth = 'Authorization: Bearer ' . $si->key;
is dribble("GET /v1/conversations HTTP/1.1\r\nHost: x\r\nX-Slow: ", 1, 'a slow header'), '', 'a slow header is cut, though bytes come';
is dribble('GET', 0, 'no header'), '', 'a header that does not come is cut';
is dribble("POST /v1/conversations HTTP/1.1\r\nHost: x\r\n$auth\r\nContent-Length: 100\r\n\r\n{\"title\"", 0, 'a slow body'), '', 'a body that stands still is cut';
is dribble("POST /v1/conversations HTTP/1.1\r\nHost: x\r\n$auth\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"t", 0, 'a slow chunk'), '', 'so is a chunk';
my @log = poll_until { my @l = map { decode_json($_) } grep { /"status":408/ } split /\n/, slurp($si->dir . '/logs/access.log'); @l >= 4 ? \@l : 0 } 30, 'four 408 in the access log';
is_deeply [grep { $_->{worker} ne '' } @{ $log[0] }], [], 'no worker has heard of any';
is_deeply $si->json(GET => '/v1/conversations')->{json}{data}, [], 'and nothing was made of a half body';

# Requests of one address at once.
my $c = $si->json(POST => '/v1/conversations', {})->{json}{id};
my @readers = map { my $s = $si->stream(GET => "/v1/conversations/$c/events"); $s->head; $s } 1 .. 2;
is $_->status, 200, 'a reader' for @readers;
my $r = $si->json(GET => "/v1/conversations/$c");
is $r->{status}, 429, 'one request too many of an address';
is $r->{json}{code}, 'too_many_connections', 'says so';
is $r->{headers}{'content-type'}, 'application/problem+json', 'as a problem';
is $r->{headers}{'retry-after'}, '1', 'and when to come back';
$readers[0]->close;
poll_until { $si->json(GET => "/v1/conversations/$c")->{status} == 200 } 30, 'room when one has gone';
pass 'when one has gone, there is room';
done_testing;
