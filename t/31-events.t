# Streams of events: what all readers get, what one that comes back gets, and what nobody's text can break.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, nginx_workers => 2);

sub stepped { $model->next(kind => 'step') }
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
sub follow { my ($c, $more, $headers, %o) = @_; return $si->stream(GET => "/v1/conversations/$c/events" . ($more // ''), undef, $headers, %o) }

# Events of a stream up to that one.
sub events_to {
    my ($s, $id) = @_;
    my @e;
    do { push @e, $s->next_event // die "the stream ended before $id\n" } until $e[-1]{id} eq $id;
    return @e;
}

# The model says these words, one after the other: each is a delta of its own, since the stream has it before the next comes.
sub say {
    my ($n, $s, @words) = @_;
    for (@words) {
        $model->go($n, $_);
        $s->wait_event('delta');
    }
}

sub ids { return join ' ', map { $_->{id} } @_ }
sub kinds { return join ' ', map { $_->{event} } @_ }

subtest 'head of a stream' => sub {
    my $c = conversation($si);
    my $s = follow($c, '', {}, keep_body => 1);
    is $s->head->{status}, 200, 'status';
    like $s->headers->{'content-type'}, qr{^text/event-stream}, 'content type';
    unlike $s->headers->{'content-type'}, qr/charset=(?!utf-8)/i, 'in UTF-8';
    like $s->headers->{'cache-control'}, qr/no-cache|no-store/, 'Cache-Control: not cached';
    like $s->headers->{'cache-control'}, qr/no-transform/, 'nor rewritten';
    is $s->headers->{'x-accel-buffering'}, 'no', 'X-Accel-Buffering';
    ok !defined $s->headers->{'content-length'}, 'no length';
    SI::Test::Stream->pump_all([$s], sub { $s->{comments} });
    like $s->{body}, qr/\Aretry: \d+\n/, 'the first bytes are retry:';
    ok $s->{retry} >= 500 && $s->{retry} <= 2000, 'half a second to two';
    is scalar($s->events), 0, 'and no event';
    $s->close;
    my $head = $si->json(HEAD => "/v1/conversations/$c/events");
    is $head->{status}, 200, 'HEAD';
    like $head->{headers}{'content-type'}, qr{^text/event-stream}, 'says the type';
};

my $conv = conversation($si);
my %live;           # id => bytes, as the first reader has got it
my @live;

subtest 'many readers, one sequence' => sub {
    my @readers = (follow($conv), follow($conv, '?from=now'));
    $_->head for @readers;
    stepped();
    my $sender = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'first' });
    my $n = asked();
    say($n, $readers[0], map { "word$_ " } 1 .. 4);
    my $joined = follow($conv, '', { 'Last-Event-ID' => '1.4' });
    my $query = follow($conv, '?last_event_id=1.1');
    my $plain = follow($conv);
    my $empty = follow($conv, '?last_event_id=', { 'Last-Event-ID' => '' });
    my $now = follow($conv, '?from=now');
    $_->head for $joined, $query, $plain, $empty, $now;
    is $joined->next_event->{id}, '1.5', 'a reader that joins in the middle goes on after its id';
    is $query->next_event->{id}, '1.2', 'so does one with the id in the query';
    is $plain->next_event->{id}, '1.1', 'one without an id begins with the turn that runs';
    is $empty->next_event->{id}, '1.1', 'so does one with an empty id';
    SI::Test::Stream->pump_all([$now], sub { $now->{comments} });
    say($n, $readers[0], map { "and$_ " } 1 .. 3);
    $model->finish($n);
    my @sent = $sender->until_end;
    ok $sender->complete, 'the sender gets a whole answer';
    is kinds(@sent), 'turn.accepted turn.started ' . 'delta ' x 7 . 'turn.completed', 'with every event';
    is ids(@sent), join(' ', map { "1.$_" } 1 .. 10), 'numbered without a hole';
    %live = %{ by_id(@sent) };
    @live = @sent;
    my $last = $sent[-1]{id};
    for (['a reader from before', $readers[0]], ['another one', $readers[1]], ['the one that joined', $joined], ['with the id in the query', $query],
        ['without an id', $plain], ['with an empty id', $empty], ['from=now', $now])
    {
        my ($who, $s) = @$_;
        events_to($s, $last);
        my @all = $s->seen;
        same_bytes(\%live, \@all, "$who: the sender's bytes for every id");
        ok ids_grow(@all), "$who: growing ids";
    }
    is ids($joined->seen), '1.5 1.6 1.7 1.8 1.9 1.10', 'the one that joined has all later events, each once';
    is ids($now->seen), '1.7 1.8 1.9 1.10', 'from=now has what came since';
    ok !$_->ended, 'a stream of a conversation does not end with the turn' for $readers[0];
};

subtest 'what is over is replayed' => sub {
    my $reader = follow($conv);
    $reader->head;
    for my $i (2 .. 4) {
        run_turn($si, $conv, "turn $i");
        $asked++;
    }
    $model->next(kind => 'status', status => 400);
    is run_turn($si, $conv, 'turn 5')->{state}, 'failed', 'a turn that fails';
    $asked++;
    stepped();
    my $t = post_turn($si, $conv, 'turn 6');
    say(asked(), $reader, 'some');
    is $si->json(POST => "/v1/turns/$t->{id}/cancel")->{json}{state}, 'cancelled', 'a turn that is cancelled';
    run_turn($si, $conv, 'turn 7');
    $asked++;
    SI::Test::Stream->pump_all([$reader], sub { grep { $_->{id} =~ /^7\./ && $_->{event} eq 'turn.completed' } $reader->events });
    push @live, $reader->seen, $reader->events;
    ok ids_grow(@live), 'live, the ids grow over all turns';
    %live = %{ by_id(@live) };
    my $last = $live[-1]{id};
    my @ends = map { $_->{id} } grep { $_->{event} =~ /accepted|completed|failed|cancelled/ } @live;
    is scalar(@ends), 14, 'seven turns with beginning and end';

    my @replay = events_to(follow($conv, '?from=start'), $last);
    same_bytes(\%live, \@replay, 'from=start: the bytes that were live');
    ok ids_grow(@replay), 'growing ids';
    my %has = map { $_->{id} => 1 } @replay;
    ok !(grep { !$has{$_} } @ends), 'beginning and end of every turn';
    is scalar(grep { $_->{event} eq 'turn.failed' } @replay), 1, 'the failed one';
    is scalar(grep { $_->{event} eq 'turn.cancelled' } @replay), 1, 'the cancelled one';

    for my $id ('1.1', '1.4', $ends[1], '2.2', $ends[-2]) {
        my @e = events_to(follow($conv, '', { 'Last-Event-ID' => $id }), $last);
        same_bytes(\%live, \@e, "after $id: the bytes that were live");
        ok ids_grow({ id => $id }, @e), 'growing ids, all later';
        my %got = map { $_->{id} => 1 } @e;
        ok !(grep { !$got{$_} && ids_grow({ id => $id }, { id => $_ }) } @ends), 'and no end is missing';
    }

    my $s = follow($conv, '', { 'Last-Event-ID' => $last });
    my $now = follow($conv);
    $_->head for $s, $now;
    run_turn($si, $conv, 'turn 8');
    $asked++;
    is $s->next_event->{id}, '8.1', 'after the last id: what comes next';
    is $now->next_event->{id}, '8.1', 'without an id: what comes next';
    my @more = events_to(follow($conv, '?last_event_id=0.0'), '8.1');
    same_bytes({ %live, %{ by_id(@more) } }, \@more, 'an id before the first is the start');
    is $more[0]{id}, '1.1', 'of everything';
};

subtest 'a queued turn comes after the running one' => sub {
    my $c = conversation($si);
    my $reader = follow($c);
    $reader->head;
    stepped();
    my $first = post_turn($si, $c, 'first');
    my $n = asked();
    my $sender = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'second' });
    my $accepted = $sender->next_event;
    is $accepted->{id}, '2.1', 'its sender hears at once';
    my $late = follow($c);
    is $late->next_event->{id}, '1.1', 'a reader that comes now gets the running one first';
    $model->go($n, 'a');
    $model->finish($n);
    my @sent = ($accepted, $sender->until_end);
    $asked++;
    my @e = events_to($reader, $sent[-1]{id});
    ok ids_grow(@e), 'the ids of the conversation grow';
    same_bytes({ %{ by_id(grep { $_->{id} =~ /^1\./ } @e) }, %{ by_id(@sent) } }, \@e, 'with the bytes that the sender got');
    same_bytes(by_id(@e), \@sent, 'all of them');
    events_to($late, $sent[-1]{id});
    is ids($late->seen), ids(@e), 'the late reader has the same';

    my $t = $si->stream(GET => "/v1/turns/$first->{id}/events");
    same_bytes(by_id(@e), [$t->until_end], 'so has one that reads the first turn alone');
};

subtest 'one turn' => sub {
    my $c = conversation($si);
    stepped();
    my $t = post_turn($si, $c, 'alone');
    my $n = asked();
    my $all = $si->stream(GET => "/v1/turns/$t->{id}/events");
    is ids(events_to($all, '1.2')), '1.1 1.2', 'from its first event';
    say($n, $all, 'x', 'y');
    my $resumed = $si->stream(GET => "/v1/turns/$t->{id}/events?last_event_id=1.3");
    is $resumed->next_event->{id}, '1.4', 'after an id';
    my $end = $si->stream(GET => "/v1/turns/$t->{id}/events", undef, { 'Last-Event-ID' => '1.4' });
    is $end->head->{status}, 200, 'after the newest: a stream that waits';
    is_problem $si->json(GET => "/v1/turns/$t->{id}/events?last_event_id=1.5"), 400, 'invalid_event_id', 'Last-Event-ID', 'an id that has not come yet';
    is_problem $si->json(GET => "/v1/turns/$t->{id}/events?last_event_id=2.1"), 400, 'invalid_event_id', 'Last-Event-ID', 'an id of another turn';
    $model->finish($n);
    my @all = ($all->seen, $all->until_end);
    my $last = $all[-1]{id};
    is kinds(@all), 'turn.accepted turn.started delta delta turn.completed', 'to its end';
    ok $all->complete, 'and the stream ends, whole';
    my @tail = $resumed->until_end;
    is ids($resumed->seen), '1.4 1.5', 'so does the resumed one';
    ok $resumed->complete, 'whole';
    is ids($end->until_end), $last, 'and the one that waited';
    same_bytes(by_id(@all), [$resumed->seen, $end->seen], 'with the same bytes');

    my $over = $si->stream(GET => "/v1/turns/$t->{id}/events");
    my @replay = $over->until_end;
    ok $over->complete, 'afterwards it is replayed';
    same_bytes(by_id(@all), \@replay, 'with the same bytes');
    like kinds(@replay), qr/^turn\.accepted .*turn\.completed$/, 'from beginning to end';
    is ids($si->stream(GET => "/v1/turns/$t->{id}/events?last_event_id=1.4")->until_end), $last, 'after a later id: the rest';
    my $none = $si->json(GET => "/v1/turns/$t->{id}/events", undef, { 'Last-Event-ID' => $last });
    is $none->{status}, 204, 'after the last: 204, so that an EventSource stops';
    is $none->{body}, '', 'without a body';
    is_problem $si->json(GET => "/v1/turns/$t->{id}/events?last_event_id=1.6"), 400, 'invalid_event_id', 'Last-Event-ID', 'an id past the last';
};

subtest 'ids that are none' => sub {
    my $c = conversation($si);
    is_problem $si->json(GET => "/v1/conversations/$c/events?last_event_id=1.1"), 400, 'invalid_event_id', 'Last-Event-ID', 'before the first turn';
    stepped();
    my $t = post_turn($si, $c, 'x');
    my $n = asked();
    wait_turn($si, $t->{id}, 'running');
    my @bad = ('1.99', '1.999999999999', '2.1', '99.1', '1', '1.', '.1', '-1.1', '1.-1', '1.2.3', '1.2x', 'x', '1,2', '0x1.1', '1e0.1',
        '99999999999.1', '18446744073709551617.1', '1.18446744073709551617', '1' x 5000, "1.1\x{2028}", '1. 1', '%', "\xff\xfe");
    for my $id (@bad) {
        my $shown = length $id > 30 ? substr($id, 0, 10) . '...' : $id =~ s/([^ -~])/sprintf '\\x%x', ord $1/ger;
        utf8::encode(my $bytes = $id);
        is_problem $si->json(GET => "/v1/conversations/$c/events", undef, { 'Last-Event-ID' => $bytes }), 400, 'invalid_event_id', 'Last-Event-ID', "header \"$shown\"";
        my $q = $bytes =~ s/([^A-Za-z0-9.-])/sprintf '%%%02x', ord $1/ger;
        is_problem $si->json(GET => "/v1/conversations/$c/events?last_event_id=$q"), 400, 'invalid_event_id', 'Last-Event-ID', "query \"$shown\"";
        is_problem $si->json(GET => "/v1/turns/$t->{id}/events?last_event_id=$q"), 400, 'invalid_event_id', 'Last-Event-ID', "of a turn \"$shown\"";
    }
    is_problem $si->json(GET => "/v1/conversations/$c/events?last_event_id=%zz"), 400, 'invalid_event_id', 'Last-Event-ID', 'a broken escape';
    is_problem $si->json(GET => "/v1/conversations/$c/events?from=$_"), 422, 'invalid_field', 'from', "from=$_" for 'yesterday', '%00', 'START', 'x' x 500;
    $model->finish($n);
    wait_turn($si, $t->{id});
};

subtest 'no text breaks the framing' => sub {
    my @evil = ("\r\n\r\n", "\n\ndata: {}\n\nid: 9.9\nevent: turn.completed\n\n", "\r", "a\x{2028}b\x{2029}c", "\x{1F468}\x{200D}\x{1F469}\x{200D}\x{1F467}",
        "\x{FEFF}bom", "\x{85}", "tab\there", "\x01\x1f\x7f", '</script>', '\\u000a\\n"', "\x{10FFFF}", ': comment', "retry: 1\n");
    my $input = join '|', @evil;
    my $c = conversation($si, { title => 'line' });
    my $reader = follow($c, '', {}, keep_body => 1);
    $reader->head;
    $model->next(kind => 'tokens', tokens => \@evil);
    my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => $input, client_turn_id => "c\r\n\x{2028}\x{1F600}" }, undef, keep_body => 1);
    my @e = $s->until_end;
    $asked++;
    is $e[0]{data}{input}, $input, 'the input comes as it was sent';
    is $e[0]{data}{client_turn_id}, "c\r\n\x{2028}\x{1F600}", 'the client_turn_id, too';
    is text_of(@e), join('', @evil), 'the answer in its deltas';
    is $e[-1]{data}{message}{content}, join('', @evil), 'and whole';
    ok !(grep { $_->{raw} !~ /\Aid: \d+\.\d+\nevent: [a-z.]+\ndata: \{[^\r\n]*\}\n\n\z/ } @e), 'every event has its form, and nothing in it breaks a line';
    unlike $s->{body}, qr/\r/, 'no CR on the wire';
    unlike $s->{body}, qr/[\x00-\x09\x0b-\x1f]/, 'nor another control character';
    events_to($reader, $e[-1]{id});
    same_bytes(by_id(@e), [$reader->seen], 'the same for a reader');
    my $t = $si->json(GET => "/v1/turns/$e[0]{data}{turn}");
    is $t->{json}{input}, $input, 'the same in the turn object';
    is $t->{json}{output}, join('', @evil), 'with the answer';
    is_deeply [map { $_->{content} } @{ $si->json(GET => "/v1/conversations/$c/messages")->{json}{data} }], [$input, join '', @evil], 'and in the messages';
    same_bytes(by_id(@e), [events_to(follow($c, '?from=start'), $e[-1]{id})], 'and in a replay');
    $model->next(kind => 'tokens', tokens => ['ok']);
    run_turn($si, $c, 'what did I say?');
    $asked++;
    is_deeply [map { $_->{content} } grep { $_->{role} ne 'system' } @{ $model->request($asked)->{json}{messages} }],
        [$input, join('', @evil), 'what did I say?'], 'and in the history that the model reads';
};

done_testing;
