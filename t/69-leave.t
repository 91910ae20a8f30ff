# A client of a dialect that goes away ends the call of the provider within 100 ms, also while that is being connected and between two
# tries. (t/60 and t/61 have the later phases.) No call of a dialect is queued: what is too much is refused at once.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::INET;
use JSON::PP ();
use SI::Model;
use SI::Test;

# A port where the kernel answers nobody: the queue of connections that nobody accepts is full.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "socket: $!";
my $port = $deaf->sockport;
my @fill = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Blocking => 0) } 1 .. 4;
# Those that are being connected to it (state 2 of /proc/net/tcp).
sub connecting { my $hex = sprintf '%04X', $port; return scalar grep { /^\s*\d+: \S+ [0-9A-F]{8}:$hex 02 / } split /\n/, slurp('/proc/net/tcp') }
poll_until { connecting() } 20, 'a full queue';
my $full = connecting();

my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(model => undef, workers => 1, config => <<"YAML");
gateway: { attempts: 3, backoff: 30s, backoff_max: 30s, cooldown: 30s, cooldown_max: 30s, wait: 60s, breaker_calls: 10000 }
providers:
  deaf: { kind: openai, base_url: "http://127.0.0.1:$port/v1", connect_timeout: 60s, first_byte_timeout: 60s }
  fails: { kind: openai, base_url: "$url" }
  busy: { kind: openai, base_url: "$url" }
models:
  deaf: { provider: deaf }
  fails: { provider: fails }
  busy: { provider: busy }
  paid: { provider: fails }
budgets:
  paid: { per: all, model: paid, period: total, calls: 100 }
YAML

# The steps at which calls wait for a model.
sub waits { my ($w) = grep { $_->{dialects} } map { ref eq 'ARRAY' ? @$_ : $_ } $si->status->{workers}; return join ' ', map { $_->{waits} } @{ $w->{dialects} } }
my @talk = (messages => [{ role => 'user', content => 'x' }]);
my @faces = (['/v1/chat/completions', @talk], ['/v1/messages', @talk, max_tokens => 10], ['/v1/responses', input => 'x']);
my @phases = (
    ['while it is connected', 'deaf', undef, sub { connecting() > $full }, sub { connecting() == $full }],
    ['between two tries', 'fails', [kind => 'status', status => 500], sub { waits() eq 'llm:backoff' }, sub { waits() eq '' }],
    ['while its key rests', 'busy', [kind => 'status', status => 429, headers => { 'Retry-After' => 30 }], sub { waits() eq 'llm:rest' }, sub { waits() eq '' }],
);
for my $phase (@phases) {
    my ($what, $name, $how, $there, $gone) = @$phase;
    $model->default(@$how) if $how;
    for my $face (@faces) {
        my ($path, @body) = @$face;
        for my $stream (JSON::PP::true, JSON::PP::false) {
            my @ms;
            for (1 .. 3) {
                my $s = $si->stream(POST => $path, { model => $name, stream => $stream, @body });
                poll_until(\&$there, 30, $what);
                my $asked = $model->count;
                my $from = now_ms();
                $s->close;
                poll_until(\&$gone, 30, "the end $what");
                push @ms, now_ms() - $from;
                die 'the provider was asked again' if $model->count != $asked;
            }
            my ($median) = (sort { $a <=> $b } @ms)[1];
            cmp_ok $median, '<=', 100, "$path, " . ($stream ? 'a stream' : 'one body') . ", $what: ended within 100 ms (@ms)";
        }
    }
}

# Redis holds a reservation that nobody waits for any more: it is given back as soon as Redis goes on.
sub held { my ($key) = grep { !/rate/ } split /\n/, $si->redis(KEYS => 'si:{budget}:paid:*'); return $si->redis(HGET => $key // 'none', 'held') || 0 }
$model->default(kind => 'tokens', tokens => 1);
is $si->json(POST => '/v1/chat/completions', { model => 'paid', @talk })->{status}, 200, 'a call that is paid for';
poll_until { held() == 0 } 20, 'its settlement';
sub running { my ($n) = $si->http(GET => '/metrics')->{body} =~ /^si_worker_dialect_calls\S* (\d+)$/m; return $n }
my $answered = 1;
for my $face (@faces) {
    my ($path, @body) = @$face;
    my ($asked, $redis, $tries) = (0, $si->redis_pid, 0);
    # Redis is waited for half a second: a machine that takes longer for this has another try.
    do {
        my $before = $model->count;
        kill STOP => $redis;
        my $s = $si->stream(POST => $path, { model => 'paid', stream => JSON::PP::true, @body });
        poll_until { running() == 1 } 20, 'the call';
        $s->close;
        poll_until { running() == 0 } 20, 'the end of the call';
        $asked = $model->count - $before;
        kill CONT => $redis;
        poll_until { $si->json(POST => '/v1/chat/completions', { model => 'paid', @talk })->{status} == 200 } 20, 'Redis';
        $answered += 1 + $asked;
    } while ($asked && ++$tries < 5);
    is $asked, 0, "$path, while its budget is asked: the provider is not";
    poll_until { held() == 0 } 20, 'what it held to be given back';
    pass 'and nothing is held';
}
my ($used) = $si->redis(HGET => (grep { !/rate/ } split /\n/, $si->redis(KEYS => 'si:{budget}:paid:*'))[0], 'used');
is $used, $answered, 'only what was answered was counted';
done_testing;
