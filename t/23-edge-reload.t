# The edge alone: reload and graceful stop with streams open.
use strict;
use warnings;
use lib 't/lib';
use SI::Edge;
use Test::More;

sub edge {
    my %o = @_;
    my $edge = SI::Edge->new(location => 'si_stream_heartbeat 400ms; si_stream_drain 600ms;', %o);
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link($o{nginx_workers} || 1);
    return ($edge, $w);
}

sub open_reader {
    my ($edge, $w, $log, $key) = @_;
    my $c = $edge->get('/v1/conversations/c/events');
    my $call = $w->call;
    $call->stream->data("retry: 1\n\n")->attach($log, $key, 1);
    $c->wait_body(qr/retry/);
    return ($c, $call->{link});
}

subtest 'reload' => sub {
    my ($edge, $w) = edge();
    my ($old) = $edge->nginx_pids;
    my @c = map { (open_reader($edge, $w, 1, 'c:1'))[0] } 1 .. 20;
    my ($turn, $link) = open_reader($edge, $w, 2, 't:1');
    my $p = $edge->get('/private');
    my $call = $w->call->stream->data("data: 1\n\n");
    $p->wait_body(qr/1/);
    $edge->reload;
    SI::Edge::wait_for(sub { $edge->log =~ /gracefully shutting down/ }, 'the old worker to shut down');
    SI::Edge::wait_for(sub { grep({ $_->{eof} } @c) == @c }, 'the drain');
    is scalar(grep { $_->whole } @c), 20, 'readers of the conversation end in order';
    is scalar(grep { $_->body =~ /\n\nretry: \d+\n\n\z/ } @c), 20, 'with retry';
    ok !$turn->{eof}, 'the reader of a turn does not';
    ok !$p->{eof}, 'nor does a private answer';
    my $new = $edge->get('/new');
    my $opened = $w->call;
    isnt $opened->{link}, $link, 'a new request comes from the new worker';
    $opened->json('{}');
    ok $new->wait_whole, 'and is answered';
    $w->feed($link, 2, '1.1', "id: 1.1\ndata: x\n\n");
    ok $turn->wait_body(qr/data: x/), 'the turn goes on';
    $w->end_log($link, 2);
    ok $turn->wait_whole, 'to its end';
    $call->data("data: 2\n\n")->end;
    ok $p->wait_whole, 'and the answer too';
    SI::Edge::wait_for(sub { $edge->log =~ /$old#$old: exit\b/ }, 'the old worker to leave');
    SI::Edge::wait_for(sub { $link->{closed} }, 'the old link to close');
    pass 'the old worker has left';
    $_->close for @c, $turn, $p, $new;
    $edge->stop;
};

subtest 'reload without a stream' => sub {
    my ($edge, $w) = edge(nginx_workers => 2);
    my %old = map { $_ => 1 } $edge->nginx_pids;
    for my $round (1 .. 3) {
        my @before = $edge->nginx_pids;
        $edge->reload;
        SI::Edge::wait_for(sub { my %now = map { $_ => 1 } $edge->nginx_pids; keys %now == 2 && !grep { $now{$_} } @before }, 'new workers');
    }
    SI::Edge::wait_for(sub { @{ $w->{links} } == 2 && !grep { !$_->{hello} } @{ $w->{links} } }, 'two links');
    pass 'idle links hold nobody back';
    $edge->stop;
};

subtest 'reload under load' => sub {
    my ($edge, $w) = edge(nginx_workers => 2);
    my ($done, $failed, $round, %open) = (0, 0, 0);
    my %old = map { $_ => 1 } $edge->nginx_pids;
    SI::Edge::wait_for(sub {
        while (keys %open < 8 && $done < 400) { my $c = $edge->get('/load'); $open{$c} = $c }
        while ($w->has('OPEN')) { $w->call->json('{"a":1}') }
        for my $c (values %open) {
            next if !$c->whole && !$c->{eof};
            $failed++ if !$c->whole || $c->status != 200;
            $done++;
            $c->close;
            delete $open{$c};
        }
        if ($done >= 100 * ($round + 1) && $round < 3) { $round++; $edge->reload }
        return $done >= 400 && !keys %open;
    }, '400 requests');
    is $failed, 0, 'none of 400 requests failed in three reloads';
    SI::Edge::wait_for(sub { my @now = $edge->nginx_pids; @now == 2 && !grep { $old{$_} } @now }, 'the old workers to leave');
    $edge->stop;
};

subtest 'worker_shutdown_timeout' => sub {
    my ($edge, $w) = edge(main => 'worker_shutdown_timeout 1s;', location => 'si_stream_heartbeat 400ms; si_stream_drain 60s;');
    my ($old) = $edge->nginx_pids;
    my ($c) = open_reader($edge, $w, 1, 'c:1');
    my $turn = (open_reader($edge, $w, 2, 't:1'))[0];
    my $waits = $edge->get('/waits');
    $w->call;
    $edge->reload;
    $_->wait_eof for $c, $turn, $waits;
    SI::Edge::wait_for(sub { $edge->log =~ /$old#$old: exit\b/ }, 'the old worker to leave');
    pass 'it is respected';
    $edge->stop;
};

subtest 'a worker of nginx is killed' => sub {
    my ($edge, $w) = edge();
    my ($old) = $edge->nginx_pids;
    my ($c, $link) = open_reader($edge, $w, 1, 'c:1');
    kill KILL => $old;
    $c->wait_eof;
    SI::Edge::wait_for(sub { $link->{closed} }, 'the link to close');
    SI::Edge::wait_for(sub { (() = $edge->log =~ /is up$/mg) == 2 }, 'the link of the next one');
    my $s = $edge->get('/status');
    $w->call->json('{}');
    ok $s->wait_whole, 'the next one serves';
    like $s->body, qr/"readers":0,"logs":0,"calls":0/, 'gauges of the dead are gone';
    $_->close for $c, $s;
    # nginx itself calls the death of a worker an alert: only look for others
    my @bad = grep { /\[alert\]/ && !/exited on signal 9/ } split /^/, $edge->log;
    is scalar @bad, 0, 'no other alert';
    $edge->{expected} = qr/exited on signal 9/;
    $edge->stop;
};

done_testing;
