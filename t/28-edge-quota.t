# The edge alone: zones of the cluster. What it asks a worker for, what it does with the answer, and without one.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use SI::FakeWorker;
use Test::More;

my $GRANT = 3;      # kind of PUSH
my $BURST = 20;
my $INTERVAL = 6_000_000_000;       # ns, of 10r/m: nothing drains meanwhile
my $json = JSON::PP->new->utf8;

sub edge {
    my ($zone, %o) = @_;
    my $port = SI::Edge::free_port();
    my $edge = SI::Edge->new(%o, http => "si_limit_zone \$http_x_k zone=all:64k $zone scope=cluster; server { listen 127.0.0.1:$port; location / { si_limit zone=all; } }");
    $edge->{files} = $port;
    mkdir "$edge->{dir}/html";
    open my $fh, '>', "$edge->{dir}/html/a" or die $!;
    return $edge;
}

sub get {
    my ($edge, $key) = @_;
    local $edge->{port} = $edge->{files};
    my $c = $edge->get('/a', head => "X-K: $key\r\n");
    $c->wait_whole;
    my %r = (status => $c->status, map { lc } $c->header =~ /^([\w-]+): (.*)\r$/mg);
    $c->close;
    return \%r;
}

sub statuses { my ($edge, $n, $key) = @_; return join ' ', map { get($edge, $key)->{status} } 1 .. $n }

# The next question that is about a key, and answers to it.
# With a third argument: which requests of that value, one after the other, bring about.
sub ask {
    my ($w, $edge, $value) = @_;
    my $found;
    SI::Edge::wait_for(sub {
        get($edge, $value) if $edge;
        my @asks = grep { $_->{type} eq 'ASK' } @{ $w->{frames} };
        ($found) = grep { unpack 'Q<', $_->{payload} } @asks;
        return $found;
    }, 'a question about a key');
    @{ $w->{frames} } = grep { $_ != $found } @{ $w->{frames} };
    my %a = (link => $found->{link});
    @a{qw(key interval bucket want debt back name)} = unpack 'Q<Q<Q<VVVC/a', $found->{payload};
    return \%a;
}

sub grant {
    my ($w, $ask, %o) = @_;
    my %g = (level => 0, granted => 0, nodes => 2, away => 0, want => $ask->{want}, %o);
    $w->push_frame($ask->{link}, $GRANT, pack 'Q<Q<VVVCC/a', $ask->{key}, $g{level}, @g{qw(want granted nodes away)}, $ask->{name});
}

sub status {
    my ($edge, $w) = @_;
    my $c = $edge->get('/status');
    $w->call->json('{}');
    $c->wait_whole;
    my $s = $json->decode($c->body);
    $c->close;
    return $s->{edge}{limits}{all};
}

subtest 'debts, slices, and what goes back' => sub {
    my $edge = edge("rate=10r/m burst=$BURST");
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link;
    is get($edge, 'k')->{status}, 200, 'a first request passes at once';
    my $ask = ask($w);
    is_deeply [@$ask{qw(interval bucket debt back name)}], [$INTERVAL, $BURST * $INTERVAL, 1, 0, 'all'], 'and is charged afterwards';
    is statuses($edge, 3, 'k'), '200 200 200', 'more pass while nobody has answered';

    # the bucket is full but for one, and a slice of 2 is ours
    grant($w, $ask, want => 5, granted => 2, level => ($BURST - 4) * $INTERVAL);
    ok SI::Edge::wait_for(sub { status($edge, $w)->{granted} == 1 }, 'the slice'), 'a slice';
    my $r = get($edge, 'k');
    is $r->{status}, 200, 'is used';
    like $r->{ratelimit}, qr/^"all";r=[12];t=\d+$/, 'RateLimit tells what is left of it';
    is get($edge, 'k')->{status}, 200, 'to the end';
    $ask = ask($w, $edge, 'k');
    cmp_ok $ask->{debt}, '>=', 3, 'what passed meanwhile is told with the next';
    grant($w, $ask, granted => 0, level => $BURST * $INTERVAL, want => 1);
    ok SI::Edge::wait_for(sub { get($edge, 'k')->{status} == 429 }, 'a refusal'), 'without budget it refuses';
    $r = get($edge, 'k');
    like $r->{ratelimit}, qr/^"all";r=0;t=(\d+)$/, 'nothing is left';
    is $r->{'retry-after'}, ($r->{ratelimit} =~ /t=(\d+)/)[0], 'Retry-After agrees';

    # a slice that nobody uses
    $ask = ask($w, $edge, 'k');
    cmp_ok $ask->{want}, '>=', 1, 'who was refused wants one';
    grant($w, $ask, granted => $ask->{want}, level => $BURST * $INTERVAL);
    my $back = ask($w);
    is_deeply [@$back{qw(key want back)}], [$ask->{key}, 0, $ask->{want}], 'what is not used goes back';
    is status($edge, $w)->{degraded}, JSON::PP::false, 'all is well';

    $w->push_frame($ask->{link}, $GRANT, 'short');
    ok SI::Edge::wait_for(sub { $edge->log =~ /malformed GRANT/ }, 'the refusal of nonsense'), 'a malformed GRANT closes the link';
    $edge->stop;
};

subtest 'the share of a node' => sub {
    my $edge = edge("rate=10r/m burst=$BURST");
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link;
    get($edge, 'other');
    grant($w, ask($w), away => 1, nodes => 4);
    ok !status($edge, $w)->{degraded}, 'one worker that knows nothing is no proof';
    grant($w, ask($w, $edge, 'other'), away => 1, nodes => 4) for 1 .. 2;
    ok SI::Edge::wait_for(sub { status($edge, $w)->{degraded} }, 'the word to come'), 'but three are';
    my @r = map { get($edge, 'k') } 1 .. 6;
    is join(' ', map { $_->{status} } @r), '200 200 200 200 200 429', 'of four nodes each has a fourth of the burst';
    like $r[0]{ratelimit}, qr/^"all";r=4;t=\d+;share=4$/, 'which the header tells';
    like $edge->log, qr/\[warn\][^\n]*si limit zone "all" has no word from Redis/, 'and the log';
    my $probe = $w->frame('ASK');
    is +(unpack 'Q<Q<Q<VVV', $probe->{payload})[0], 0, 'it asks whether Redis is back';
    grant($w, { link => $probe->{link}, key => 0, want => 0, name => 'all' });
    ok SI::Edge::wait_for(sub { !status($edge, $w)->{degraded} }, 'the end of it'), 'and goes on when it is';
    $w->kill_it;
    SI::Edge::wait_for(sub { get($edge, 'another')->{ratelimit} =~ /share=2/ }, 'the share');
    pass 'without any worker it has its share, too';
    $edge->stop;
};

subtest 'two questions without an answer' => sub {
    my $edge = edge("rate=10r/m burst=$BURST");
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link;
    SI::Edge::wait_for(sub { get($edge, 'k'); status($edge, $w)->{degraded} }, 'the share');
    is status($edge, $w)->{asked}, 3, 'it was asked again before';
    $edge->stop;
};

subtest 'what a configuration may say' => sub {
    for my $case (['streams=3', '', qr/"scope=cluster" with a rate only/], ['rate=1r/s', 'si_limit_failures zone=all;', qr/which only "si_limit" can use/]) {
        my $edge = edge($case->[0]);
        $edge->{http} .= " $case->[1]";
        ok !eval { $edge->start; 1 }, "$case->[0] $case->[1]";
        like $@, $case->[2], 'the reason';
    }
};

done_testing();
