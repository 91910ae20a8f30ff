# Cancelling a turn in every phase of its life: what it leaves, what readers see, and how soon the model's connection is closed.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2);
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
sub cancel { my $id = shift; return $si->json(POST => "/v1/turns/$id/cancel") }
sub turn_events { my $id = shift; return $si->stream(GET => "/v1/turns/$id/events") }

# The state after a cancel, everywhere it can be seen.
sub is_cancelled {
    my ($r, $text, $what) = @_;
    is $r->{status}, 200, "$what: answered";
    is_deeply [@{ $r->{json} }{qw(state output error)}], ['cancelled', $text, undef], "$what: its final state";
    ok $r->{json}{finished}, "$what: finished";
    my $t = $si->json(GET => "/v1/turns/$r->{json}{id}");
    is $t->{body}, $r->{body}, "$what: the turn object is the same";
    my @e = turn_events($r->{json}{id})->until_end;
    is $e[-1]{event}, 'turn.cancelled', "$what: the last event";
    if (length $text) {
        is_deeply [@{ $e[-1]{data}{message} }{qw(role content)}], ['assistant', $text], "$what: with what was said";
    } else {
        ok exists $e[-1]{data}{message} && !defined $e[-1]{data}{message}, "$what: without a message";
    }
    my @m = map { $_->{content} } grep { $_->{turn} eq $r->{json}{id} } @{ $si->json(GET => "/v1/conversations/$r->{json}{conversation}/messages")->{json}{data} };
    is_deeply \@m, [$r->{json}{input}, length $text ? $text : ()], "$what: the messages";
    my $again = cancel($r->{json}{id});
    is "$again->{status} $again->{body}", "200 $r->{body}", "$what: a second cancel changes nothing";
    return \@e;
}

my $conv = conversation($si);

subtest 'mid-stream' => sub {
    $model->next(kind => 'step');
    my $reader = $si->stream(GET => "/v1/conversations/$conv/events");
    $reader->head;
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'mid' });
    my $n = asked();
    $model->go($n, 'So ');
    $s->wait_event('delta');
    $model->go($n, "far \x{1F600}");
    my $id = $s->wait_event('delta')->{data}{turn};
    my $r = cancel($id);
    ok $model->wait_closed($n), 'the connection to the model is closed';
    my $e = is_cancelled($r, "So far \x{1F600}", 'mid-stream');
    my $last = $s->wait_event('turn.cancelled');
    is $s->next_event, undef, 'the sender\'s stream ends';
    ok $s->complete, 'whole';
    is $reader->wait_event('turn.cancelled')->{raw}, $last->{raw}, 'a reader of the conversation has the same event';
    is $e->[-1]{raw}, $last->{raw}, 'and so has a replay';
    ok $last->{data}{usage}{estimated}, 'the tokens are estimated';
};

subtest 'while a call waits' => sub {
    $model->next(kind => 'step');
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'waits' }, { Accept => 'application/json' }, keep_body => 1);
    my $n = asked();
    $model->go($n, 'text');
    my ($id) = $si->pg("SELECT turn_id FROM turn WHERE conversation_id = '$conv' AND state = 'running'");
    my $events = turn_events($id);
    $events->wait_event('delta');
    my $r = cancel($id);
    is_cancelled($r, 'text', 'a call that waits');
    $s->head;
    is $s->body, $r->{body}, 'the waiting call gets the cancelled turn';
    is $s->status, 200, 'as an answer';
};

subtest 'before the first token' => sub {
    $model->next(kind => 'step');
    my $t = post_turn($si, $conv, 'no token');
    my $n = asked();
    is turn_events($t->{id})->wait_event('turn.started')->{data}{turn}, $t->{id}, 'started';
    my $r = cancel($t->{id});
    ok $model->wait_closed($n), 'the connection to the model is closed';
    my $e = is_cancelled($r, '', 'before the first token');
    is $r->{json}{first_token_ms}, undef, 'there was none';
};

subtest 'waiting for headers' => sub {
    $model->next(kind => 'hang');
    my $t = post_turn($si, $conv, 'no headers');
    my $n = asked();
    my $r = cancel($t->{id});
    ok $model->wait_closed($n), 'the connection to the model is closed';
    is_cancelled($r, '', 'waiting for headers');
};

subtest 'waiting for a connection' => sub {
    my $t = post_turn($si, $conv, 'offline', { 'Idempotency-Key' => 'o1' });
    $asked++;
    wait_turn($si, $t->{id});
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'one two three', model => 'offline' });
    my $id = $s->wait_event('turn.started')->{data}{turn};
    my $r = cancel($id);
    is $r->{status}, 200, 'the offline answerer is cancelled, or has ended';
    like $r->{json}{state}, qr/^(?:cancelled|completed)$/, 'one of the two';
    is +($s->until_end)[-1]{event}, "turn.$r->{json}{state}", 'and the event says the same';
};

subtest 'queued' => sub {
    $model->next(kind => 'step');
    my $reader = $si->stream(GET => "/v1/conversations/$conv/events?from=now");
    $reader->head;
    my $first = post_turn($si, $conv, 'first');
    my $n = asked();
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'second' });
    my $second = $s->next_event->{data}{turn};
    my $third = post_turn($si, $conv, 'third');
    my $r = cancel($second);
    my $e = is_cancelled($r, '', 'queued');
    is join(' ', map { $_->{event} } @$e), 'turn.accepted turn.cancelled', 'it was never started';
    is +($s->until_end)[-1]{event}, 'turn.cancelled', 'its sender hears it at once';
    is $si->json(GET => "/v1/turns/$first->{id}")->{json}{state}, 'running', 'the running one goes on';
    is $model->count, $n, 'and no other was asked';
    $model->go($n, 'one');
    $model->finish($n);
    is wait_turn($si, $third->{id})->{state}, 'completed', 'the third follows';
    asked();
    is_deeply [map { $_->{content} } grep { $_->{role} ne 'system' } @{ $model->request($asked)->{json}{messages} }[-4 .. -1]],
        ['first', 'one', 'second', 'third'], 'it reads what was said in between';
    my @e;
    do { push @e, $reader->next_event } until $e[-1]{event} eq 'turn.completed' && $e[-1]{data}{turn} eq $third->{id};
    ok ids_grow(@e), 'a reader of the conversation sees them in their order';
    is join(' ', map { $_->{data}{number} - $first->{number} . " $_->{event}" } grep { $_->{event} =~ /accepted|cancelled|completed/ } @e),
        '0 turn.accepted 0 turn.completed 1 turn.accepted 1 turn.cancelled 2 turn.accepted 2 turn.completed', 'each with its end';
};

subtest 'after the end' => sub {
    my $t = run_turn($si, $conv, 'over');
    $asked++;
    my $r = cancel($t->{id});
    is $r->{status}, 200, 'answered';
    is_deeply $r->{json}, $t, 'the turn as it was: completed';
    is +(turn_events($t->{id})->until_end)[-1]{event}, 'turn.completed', 'and its events, too';
    $model->next(kind => 'status', status => 400);
    my $f = run_turn($si, $conv, 'bad');
    $asked++;
    is cancel($f->{id})->{json}{state}, 'failed', 'a failed one stays failed';
};

subtest 'at once, from many' => sub {
    $model->next(kind => 'step');
    my $t = post_turn($si, $conv, 'ten');
    my $n = asked();
    $model->go($n, 'x');
    turn_events($t->{id})->wait_event('delta');
    my @s = map { $si->stream(POST => "/v1/turns/$t->{id}/cancel") } 1 .. 10;
    $_->head for @s;
    my %bodies = map { $_->body => 1 } @s;
    is scalar(keys %bodies), 1, 'ten cancels have one answer';
    is +(grep { $_->status == 200 } @s), 10, 'each a good one';
    is scalar(grep { $_->{event} eq 'turn.cancelled' } turn_events($t->{id})->until_end), 1, 'and one event';
    is run_turn($si, $conv, 'goes on')->{state}, 'completed', 'the conversation goes on';
    $asked++;
};

# The one bound on time: from the request to the close that the model sees. The median, because the machine has other work.
for my $phase (['mid-stream', 'step'], ['waiting for headers', 'hang']) {
    my @ms;
    for (1 .. 5) {
        $model->next(kind => $phase->[1]);
        my $t = post_turn($si, $conv, 'quick');
        my $n = asked();
        if ($phase->[1] eq 'step') {
            $model->go($n, 'x');
            turn_events($t->{id})->wait_event('delta');
        }
        my $from = now_ms();
        my $s = $si->stream(POST => "/v1/turns/$t->{id}/cancel");
        push @ms, $model->wait_closed($n) - $from;
        $s->head;
        $s->body;
    }
    my ($median) = (sort { $a <=> $b } @ms)[2];
    cmp_ok $median, '<=', 100, "$phase->[0]: the connection is closed within 100 ms (@ms)";
}

done_testing;
