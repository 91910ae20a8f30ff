# Retries: whatever was lost on the way, a message that is sent again is the same turn.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, nginx_workers => 2);
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }
my %modes = (stream => { Accept => 'text/event-stream' }, wait => { Accept => 'application/json' }, async => { Prefer => 'respond-async' });

# The two ways to name a message: in the body, or in a header.
for my $way ('client_turn_id', 'Idempotency-Key') {
    my $conv = conversation($si);
    my $body = $way eq 'client_turn_id' ? { input => 'hello', client_turn_id => 'c1' } : { input => 'hello' };
    my $key = $way eq 'client_turn_id' ? {} : { 'Idempotency-Key' => "key-$conv" };
    my $path = "/v1/conversations/$conv/turns";
    my $send = sub { my ($mode, %change) = @_; return $si->stream(POST => $path, { %$body, %change }, { %{ $modes{$mode} }, %$key }, keep_body => 1) };
    my $post = sub { my ($mode, %change) = @_; return $si->json(POST => $path, { %$body, %change }, { %{ $modes{$mode} }, %$key }) };
    my $reader = $si->stream(GET => "/v1/conversations/$conv/events");
    $reader->head;

    subtest "$way, while it runs" => sub {
        $model->next(kind => 'step');
        my $first = $send->('stream');
        my $n = asked();
        $model->go($n, 'one ');
        $reader->wait_event('delta');
        $first->rst;
        my $again = $send->('stream');
        is $again->next_event->{id}, '1.1', 'a stream begins again with its first event';
        is $again->next_event->{id}, '1.2', 'and so on';
        is $again->next_event->{data}{text}, 'one ', 'with what was said';
        my $async = $post->('async');
        is $async->{status}, 202, 'left alone: accepted again';
        is $async->{json}{id}, $again->{seen}[0]{data}{turn}, 'the same turn';
        is $async->{json}{state}, 'running', 'which runs';
        my $wait = $send->('wait');
        my $conflict = $post->('wait', input => 'something else');
        is_problem $conflict, 422, 'idempotency_conflict', $way, 'with another message';
        $model->go($n, 'two');
        $model->finish($n);
        my @rest = $again->until_end;
        is $rest[-1]{data}{message}{content}, 'one two', 'the stream goes on to the end';
        ok $again->complete, 'and ends';
        $wait->head;
        is JSON::PP::decode_json($wait->body)->{output}, 'one two', 'a call that waits gets the finished turn';
        $reader->wait_event('turn.completed');
        same_bytes(by_id($again->seen), [$reader->seen], 'a reader of the conversation saw one turn, with these bytes');
        is $model->count, $n, 'the model was asked once';
    };

    subtest "$way, after its end" => sub {
        my $t = $si->json(GET => '/v1/turns/' . $post->('async')->{json}{id});
        is $post->('wait')->{body}, $t->{body}, 'JSON: the finished turn';
        my $s = $send->('stream');
        my @e = $s->until_end;
        is "$e[0]{id} $e[0]{event}", '1.1 turn.accepted', 'a stream: from its first event';
        is $e[-1]{data}{message}{content}, 'one two', 'to its last';
        ok $s->complete, 'and it ends';
        is $post->('async')->{status}, 202, 'left alone: accepted';
        is_problem $post->($_, input => 'something else'), 422, 'idempotency_conflict', $way, "with another message, $_" for sort keys %modes;
        is_problem $post->('wait', model => 'offline'), 422, 'idempotency_conflict', $way, 'with another model';
        # Later, when the turn is no longer in memory.
        for (1 .. 4) {
            run_turn($si, $conv, 'next');
            $asked++;
        }
        is $post->('wait')->{body}, $t->{body}, 'JSON, long after';
        my @late = $send->('stream')->until_end;
        is join(' ', map { $_->{event} } @late[0, -1]), 'turn.accepted turn.completed', 'a stream, long after';
        same_bytes(by_id(@e), \@late, 'with the same bytes');
        is $model->count, $asked, 'no model was asked again';
        my ($n) = $si->pg("SELECT count(*) FROM turn WHERE conversation_id = '$conv'");
        is $n, 5, 'and there is no other turn';
    };

    subtest "$way, where it means another turn" => sub {
        my $other = conversation($si);
        my $r = $si->json(POST => "/v1/conversations/$other/turns", $body, { %{ $modes{wait} }, %$key });
        if ($way eq 'client_turn_id') {
            is $r->{status}, 200, 'in another conversation it is another turn';
            is $r->{json}{conversation}, $other, 'of that one';
            $asked++;
        } else {
            is_problem $r, 422, 'idempotency_conflict', $way, 'a key belongs to one request: another conversation';
            is_problem $si->json(POST => '/v1/conversations', {}, $key), 422, 'idempotency_conflict', $way, 'another route';
        }
    };

    subtest "$way, ten at once" => sub {
        my $c = conversation($si);
        my %more = $way eq 'client_turn_id' ? (client_turn_id => 'many') : ();
        my $h = $way eq 'client_turn_id' ? {} : { 'Idempotency-Key' => "many-$c" };
        $model->next(kind => 'step');
        my @s = map { $si->stream(POST => "/v1/conversations/$c/turns", { input => 'many', %more }, { %{ $modes{ (qw(stream wait async))[$_ % 3] } }, %$h }, keep_body => 1) } 1 .. 10;
        my $n = asked();
        $model->go($n, 'once');
        $model->finish($n);
        my %turns;
        for my $s (@s) {
            $s->head;
            like $s->status, qr/^20[02]$/, 'answered';
            if ($s->{sse}) { my @e = $s->until_end; $turns{ $e[0]{data}{turn} }++; is $e[-1]{data}{message}{content}, 'once', 'to the end' }
            else { $turns{ JSON::PP::decode_json($s->body)->{id} }++ }
        }
        is scalar(keys %turns), 1, 'one turn';
        my ($rows) = $si->pg("SELECT count(*) FROM turn WHERE conversation_id = '$c'");
        is $rows, 1, 'in the store, too';
        is $model->count, $n, 'the model was asked once';
        is $si->json(GET => "/v1/conversations/$c")->{json}{last_turn}, 1, 'and no number was left out';
    };

    subtest "$way, a turn that failed" => sub {
        my $c = conversation($si);
        my %more = $way eq 'client_turn_id' ? (client_turn_id => 'f') : ();
        my $h = $way eq 'client_turn_id' ? {} : { 'Idempotency-Key' => "f-$c" };
        $model->next(kind => 'status', status => 400);
        my $t = run_turn($si, $c, { input => 'fails', %more }, $h);
        $asked++;
        is $t->{state}, 'failed', 'failed';
        is_deeply run_turn($si, $c, { input => 'fails', %more }, $h), $t, 'a retry is the same turn, failed';
        is +($si->stream(POST => "/v1/conversations/$c/turns", { input => 'fails', %more }, $h)->until_end)[-1]{event}, 'turn.failed', 'also streamed';
        is $model->count, $asked, 'and nothing is asked again';
    };

    subtest "$way, a turn that is queued" => sub {
        my $c = conversation($si);
        my %more = $way eq 'client_turn_id' ? (client_turn_id => 'q') : ();
        my $h = $way eq 'client_turn_id' ? {} : { 'Idempotency-Key' => "q-$c" };
        $model->next(kind => 'step');
        post_turn($si, $c, 'before');
        my $n = asked();
        my $t = post_turn($si, $c, { input => 'waits', %more }, $h);
        for (1 .. 9) {
            is post_turn($si, $c, { input => 'waits', %more }, $h)->{id}, $t->{id}, 'the same, and it takes no other place in the queue';
        }
        my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'waits', %more }, $h);
        is $s->next_event->{data}{turn}, $t->{id}, 'streamed, too';
        $model->finish($n);
        is $s->wait_event('turn.completed')->{data}{turn}, $t->{id}, 'until its end';
        asked();
    };
}

subtest 'both names' => sub {
    my $c = conversation($si);
    my $t = run_turn($si, $c, { input => 'x', client_turn_id => 'a' }, { 'Idempotency-Key' => "a-$c" });
    $asked++;
    is run_turn($si, $c, { input => 'x', client_turn_id => 'a' })->{id}, $t->{id}, 'by the client_turn_id alone';
    is run_turn($si, $c, { input => 'x', client_turn_id => 'a' }, { 'Idempotency-Key' => "b-$c" })->{id}, $t->{id}, 'with another key';
    is_problem $si->json(POST => "/v1/conversations/$c/turns", { input => 'x', client_turn_id => 'b' }, { 'Idempotency-Key' => "a-$c" }), 422,
        'idempotency_conflict', 'client_turn_id', 'the key with another client_turn_id';
};

subtest 'other users' => sub {
    my $c = conversation($si);
    my $t = run_turn($si, $c, 'x', { 'Idempotency-Key' => 'shared' });
    $asked++;
    for (['its own tenant', 'dev', 'somebody'], ['another tenant', 'elsewhere', 'dev']) {
        my $other = member($si, create_key($si, @$_[1, 2]));
        my $oc = conversation($other, {}, { 'Idempotency-Key' => 'shared' });
        ok $oc, "a key means nothing to another user of $_->[0]";
        isnt $oc, $c, 'who gets a conversation of his own';
    }
};

subtest 'conversations' => sub {
    my $r = $si->json(POST => '/v1/conversations', { title => 'once' }, { 'Idempotency-Key' => 'conv-1' });
    is $r->{status}, 201, 'created';
    my $again = $si->json(POST => '/v1/conversations', { title => 'once' }, { 'Idempotency-Key' => 'conv-1' });
    is "$again->{status} $again->{body}", "201 $r->{body}", 'again: the same';
    is $again->{headers}{location}, $r->{headers}{location}, 'and its place';
    is_problem $si->json(POST => '/v1/conversations', { title => 'twice' }, { 'Idempotency-Key' => 'conv-1' }), 422, 'idempotency_conflict', 'Idempotency-Key', 'with another title';
    isnt conversation($si, { title => 'once' }), $r->{json}{id}, 'without a key it is another one';
    my $before = ($si->pg('SELECT count(*) FROM conversation'))[0];
    my @s = map { $si->stream(POST => '/v1/conversations', { title => 'many' }, { 'Idempotency-Key' => 'conv-many', Accept => '*/*' }, keep_body => 1) } 1 .. 10;
    my %ids;
    for (@s) {
        $_->head;
        is $_->status, 201, 'created';
        $ids{ JSON::PP::decode_json($_->body)->{id} }++;
    }
    is scalar(keys %ids), 1, 'ten at once make one';
    is +($si->pg('SELECT count(*) FROM conversation'))[0], $before + 1, 'in the store, too';
};

done_testing;
