# A conversation and its turns: streamed, waited for, left alone; queued, with history, and with clients that go away.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, config => <<'YAML');
limits:
  turns_queued: 2
history:
  tokens: 400
YAML

my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
my $requests = 0;       # of the model so far

# The next request to the model waits for the test; returns its number when it has come.
sub stepped { $model->next(kind => 'step') }
sub asked { return $model->wait_request(++$requests) }

# Messages of a request, without the system prompt.
sub said { my $n = shift; return map { "$_->{role}: $_->{content}" } grep { $_->{role} ne 'system' } @{ $model->request($n)->{json}{messages} } }

subtest 'conversations' => sub {
    my $r = $si->json(POST => '/v1/conversations', { title => "A trip \x{1F30D}" });
    is $r->{status}, 201, 'created';
    my $c = $r->{json};
    like $c->{id}, $uuid, 'its id is a UUID of version 7';
    is $c->{title}, "A trip \x{1F30D}", 'title';
    like $c->{$_}, $time, $_ for qw(created updated);
    is "$c->{version} $c->{last_turn}", '1 0', 'version and last turn';
    is $r->{headers}{location}, "/v1/conversations/$c->{id}", 'Location';
    is $r->{headers}{etag}, '"1"', 'ETag';
    is $r->{headers}{'content-type'}, 'application/json', 'content type';
    is $r->{headers}{'cache-control'}, 'no-store', 'never cached';

    my $g = $si->json(GET => "/v1/conversations/$c->{id}");
    is $g->{status}, 200, 'read';
    is_deeply $g->{json}, $c, 'the same object';
    is $g->{headers}{etag}, '"1"', 'and ETag';
    is $si->json(GET => '/v1/conversations/' . uc $c->{id})->{body}, $g->{body}, 'an id in upper case is the same id';

    is $si->json(POST => '/v1/conversations')->{status}, 201, 'created without a body';
    is $si->json(POST => '/v1/conversations', { title => undef })->{status}, 201, 'with title null';
    is $si->json(POST => '/v1/conversations', { title => "\x{10348}" x 200 })->{json}{title}, "\x{10348}" x 200, '200 characters of title';

    my $head = $si->json(HEAD => "/v1/conversations/$c->{id}");
    is $head->{status}, 200, 'HEAD';
    is $head->{body}, '', 'has no body';
    is $head->{headers}{$_}, $g->{headers}{$_}, "and GET's $_" for qw(content-length content-type etag);
    my $options = $si->http(OPTIONS => "/v1/conversations/$c->{id}");
    is $options->{status}, 204, 'OPTIONS';
    is $options->{headers}{allow}, 'GET, HEAD, OPTIONS', 'tells what there is';
    is $si->http(OPTIONS => '/v1/conversations')->{headers}{allow}, 'POST, GET, HEAD, OPTIONS', 'of a list, too';
};

subtest 'pages of conversations' => sub {
    my $pages = member($si, create_key($si, 'pages', 'ann'));
    my @ids = reverse map { conversation($pages, { title => "no. $_" }) } 1 .. 5;
    my ($path, @got, $n) = ('/v1/conversations?limit=2');
    while ($path && ++$n < 9) {
        my $r = $pages->json(GET => $path);
        push @got, [map { $_->{id} } @{ $r->{json}{data} }];
        $path = $r->{json}{next} && "/v1/conversations?limit=2&cursor=$r->{json}{next}";
    }
    is_deeply \@got, [[@ids[0, 1]], [@ids[2, 3]], [$ids[4]]], 'the newest first, two at a time';
    my $all = $pages->json(GET => '/v1/conversations')->{json};
    is_deeply [map { $_->{id} } @{ $all->{data} }], \@ids, 'and all at once';
    is $all->{next}, undef, 'with next null';
};

my $conv = conversation($si);

subtest 'a streamed turn' => sub {
    stepped();
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => "Hello \x{1F44B}", client_turn_id => 'c-1' }, undef, keep_body => 1);
    my $accepted = $s->next_event;
    is $accepted->{event}, 'turn.accepted', 'accepted before the model has said anything';
    is $s->status, 200, 'status';
    like $s->headers->{'content-type'}, qr{^text/event-stream}, 'content type';
    like $s->{body}, qr/^retry: \d{3,4}\n/, 'begins with retry:';
    my $d = $accepted->{data};
    is $accepted->{id}, '1.1', 'id';
    like $d->{turn}, $uuid, 'turn';
    is_deeply [@$d{qw(type conversation number input client_turn_id)}], ['turn.accepted', $conv, 1, "Hello \x{1F44B}", 'c-1'], 'what it says';
    like $d->{created}, $time, 'created';

    my $started = $s->next_event;
    is "$started->{id} $started->{event}", '1.2 turn.started', 'started';
    is_deeply [@{ $started->{data} }{qw(turn model attempt)}], [$d->{turn}, 'fake-1', 0], 'by the default model';
    my $running = $si->json(GET => "/v1/turns/$d->{turn}")->{json};
    is $running->{state}, 'running', 'the turn object says so';

    my $n = asked();
    is_deeply [said($n)], ["user: Hello \x{1F44B}"], 'what the model reads';
    is $model->request($n)->{json}{model}, 'fake-1', 'its name there';
    is $model->request($n)->{headers}{authorization}, 'Bearer test-key', 'with the key of the configuration';
    my $i = 2;
    for my $word ('Good ', 'day, ', "d\x{e9}j\x{e0} vu ", "\x{1F600}\n", '"quoted"') {
        $model->go($n, $word);
        my $e = $s->next_event;
        is "$e->{id} $e->{event}", '1.' . ++$i . ' delta', 'a delta as soon as the model has said it';
        is $e->{data}{text}, $word, 'with its text';
    }
    $model->finish($n);
    my $done = $s->next_event;
    is "$done->{id} $done->{event}", '1.' . ++$i . ' turn.completed', 'completed';
    is_deeply [@{ $done->{data} }{qw(turn conversation number model finish)}], [$d->{turn}, $conv, 1, 'fake-1', 'stop'], 'what it says';
    is_deeply [@{ $done->{data}{message} }{qw(role content)}], ['assistant', "Good day, d\x{e9}j\x{e0} vu \x{1F600}\n\"quoted\""], 'the whole answer';
    is $done->{data}{usage}{output_tokens}, 5, 'the tokens that the provider has counted';
    ok !$done->{data}{usage}{estimated}, 'not estimated';
    cmp_ok $done->{data}{first_token_ms}, '<=', $done->{data}{duration_ms}, 'first token before the end';
    is $s->next_event, undef, 'then the stream ends';
    ok $s->complete, 'whole';

    my $t = $si->json(GET => "/v1/turns/$d->{turn}")->{json};
    is_deeply [@$t{qw(id conversation number state input client_turn_id model attempt error finish)}],
        [$d->{turn}, $conv, 1, 'completed', "Hello \x{1F44B}", 'c-1', 'fake-1', 0, undef, 'stop'], 'the turn object';
    is $t->{output}, $done->{data}{message}{content}, 'with the answer';
    is_deeply $t->{usage}, $done->{data}{usage}, 'its usage';
    is_deeply [@$t{qw(first_token_ms duration_ms)}], [@{ $done->{data} }{qw(first_token_ms duration_ms)}], 'its times';
    like $t->{finished}, $time, 'and its end';
    is $t->{created}, $d->{created}, 'created as the event says';

    my $c = $si->json(GET => "/v1/conversations/$conv");
    is $c->{json}{last_turn}, 1, 'the conversation knows';
    cmp_ok $c->{json}{version}, '>', 1, 'by a new version';
    is $c->{headers}{etag}, "\"$c->{json}{version}\"", 'which is its ETag';
};

subtest 'as JSON' => sub {
    $model->next(kind => 'tokens', tokens => ['one ', 'two']);
    my $r = $si->json(POST => "/v1/conversations/$conv/turns", { input => 'second' });
    is $r->{status}, 200, 'status';
    is $r->{headers}{'content-type'}, 'application/json', 'content type';
    my $t = $r->{json};
    is_deeply [@$t{qw(conversation number state input output client_turn_id error)}], [$conv, 2, 'completed', 'second', 'one two', '', undef], 'the finished turn';
    like $t->{finished}, $time, 'with its end';
    my $n = asked();
    is_deeply [said($n)], ["user: Hello \x{1F44B}", "assistant: Good day, d\x{e9}j\x{e0} vu \x{1F600}\n\"quoted\"", 'user: second'], 'the model reads the first turn';
};

subtest 'left alone' => sub {
    stepped();
    my $r = $si->json(POST => "/v1/conversations/$conv/turns", { input => 'third' }, { Prefer => 'wait=1, respond-async' });
    is $r->{status}, 202, 'accepted';
    is $r->{headers}{location}, "/v1/turns/$r->{json}{id}", 'Location';
    like $r->{json}{state}, qr/^(?:queued|running)$/, 'state';
    is_deeply [@{ $r->{json} }{qw(finished error)}], [undef, undef], 'not finished';
    my $n = asked();
    is wait_turn($si, $r->{json}{id}, 'running')->{state}, 'running', 'it runs';
    $model->go($n, 'Done.');
    $model->finish($n);
    is wait_turn($si, $r->{json}{id})->{output}, 'Done.', 'and ends by itself';
};

subtest 'without a model' => sub {
    my $c = conversation($si);
    my $before = $model->count;
    my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'The capital of Portugal is Lisbon.', model => 'offline' });
    my @e = $s->until_end;
    is $e[-1]{event}, 'turn.completed', 'the offline answerer completes';
    like $e[-1]{data}{message}{content}, qr/offline answerer and no language model/, 'says what it is';
    is $e[-1]{data}{model}, 'offline', 'its name';
    is text_of(@e), $e[-1]{data}{message}{content}, 'the deltas are the answer';
    cmp_ok scalar(grep { $_->{event} eq 'delta' } @e), '>', 5, 'streamed word by word';
    my $t = run_turn($si, $c, { input => 'What is the capital of Portugal?', model => 'offline' });
    like $t->{output}, qr/Lisbon/, 'it finds what was said before';
    cmp_ok $t->{usage}{$_}, '>', 0, $_ for qw(input_tokens output_tokens);
    is $model->count, $before, 'no model was asked';
};

subtest 'history' => sub {
    my $c = conversation($si);
    for my $i (1 .. 11) {
        $model->next(kind => 'tokens', tokens => ["a$i"]);
        run_turn($si, $c, "q$i");
        $requests++;
    }
    run_turn($si, $c, 'q12');
    is_deeply [said(asked())], [(map { ("user: q$_", "assistant: a$_") } 2 .. 11), 'user: q12'], 'the last 20 messages, and the question';
    $model->next(kind => 'tokens', tokens => ['big']);
    run_turn($si, $c, 'B' x 1590);                  # 398 tokens of 400
    $requests++;
    run_turn($si, $c, 'q14');
    is_deeply [said(asked())], ['user: ' . 'B' x 1590, 'assistant: big', 'user: q14'], 'no more than the budget of tokens holds';
    run_turn($si, $c, 'C' x 1700);                  # more than the budget by itself
    is +(said(asked()))[-1], 'user: ' . 'C' x 1700, 'a question larger than the budget is asked';
    run_turn($si, $c, 'q16');
    is_deeply [said(asked())], ['user: q16'], 'but is no history: nothing before it is either, nor its answer alone';
};

subtest 'one at a time' => sub {
    my $c = conversation($si);
    stepped();
    my $first = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'first' });
    my $n = asked();
    my $second = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'second' });
    is $second->next_event->{event}, 'turn.accepted', 'the second is accepted at once';
    my $third = post_turn($si, $c, 'third');
    is $third->{state}, 'queued', 'the third waits';
    is $third->{number}, 3, 'in its place';
    is_problem $si->json(POST => "/v1/conversations/$c/turns", { input => 'fourth' }), 409, 'queue_full', undef, 'two may wait, no more';
    is $si->json(GET => "/v1/conversations/$c")->{json}{last_turn}, 3, 'the refused one is nowhere';
    is $model->count, $n, 'the model was asked once';
    my $other = conversation($si);
    is run_turn($si, $other, 'elsewhere')->{state}, 'completed', 'another conversation does not wait';
    $requests++;
    stepped();
    $model->go($n, 'one');
    $model->finish($n);
    is $first->wait_event('turn.completed')->{data}{number}, 1, 'the first ends';
    my $m = asked();
    is_deeply [said($m)], ['user: first', 'assistant: one', 'user: second'], 'then the second is asked, knowing the first';
    is $second->next_event->{event}, 'turn.started', 'and started';
    is $si->json(GET => "/v1/turns/$third->{id}")->{json}{state}, 'queued', 'while the third waits';
    $model->go($m, 'two');
    $model->finish($m);
    is $second->wait_event('turn.completed')->{data}{message}{content}, 'two', 'the second ends';
    is_deeply [said(asked())], ['user: first', 'assistant: one', 'user: second', 'assistant: two', 'user: third'], 'the third is asked';
    is wait_turn($si, $third->{id})->{state}, 'completed', 'and ends';
    is run_turn($si, $c, 'fifth')->{number}, 4, 'then there is room again';
    $requests++;
};

subtest 'clients that go away' => sub {
    for my $how (['a stream', 'text/event-stream'], ['a call that waits', 'application/json']) {
        my $c = conversation($si);
        stepped();
        my $s = $si->stream(POST => "/v1/conversations/$c/turns", { input => 'hold on', client_turn_id => 'x' }, { Accept => $how->[1] });
        my $n = asked();
        $model->go($n, 'some ');
        $s->wait_event('delta') if $how->[1] =~ /event/;
        $s->rst;
        $model->go($n, 'more');
        $model->finish($n);
        my ($id) = $si->pg("SELECT turn_id FROM turn WHERE conversation_id = '$c'");
        my $t = wait_turn($si, $id);
        is "$t->{state}: $t->{output}", 'completed: some more', "$how->[0] was reset: the turn completes and is readable";
        is $si->json(GET => "/v1/conversations/$c/messages")->{json}{data}[1]{content}, 'some more', 'its message, too';
    }
};

subtest 'messages' => sub {
    my $c = conversation($si);
    is_deeply $si->json(GET => "/v1/conversations/$c/messages")->{json}, { data => [], next => undef }, 'none at first';
    my @turns;
    for my $i (1 .. 3) {
        $model->next(kind => 'tokens', tokens => ["answer $i"]);
        push @turns, run_turn($si, $c, "question $i");
        $requests++;
    }
    my $all = $si->json(GET => "/v1/conversations/$c/messages")->{json};
    is_deeply [map { "$_->{number} $_->{role} $_->{content}" } @{ $all->{data} }],
        [map { (2 * $_ - 1 . " user question $_", 2 * $_ . " assistant answer $_") } 1 .. 3], 'the oldest first';
    is_deeply [map { $_->{turn} } @{ $all->{data} }], [map { ($_->{id}) x 2 } @turns], 'each of its turn';
    my %seen;
    ok !(grep { $_->{id} !~ $uuid || $seen{ $_->{id} }++ || $_->{created} !~ $time || $_->{tokens} < 1 } @{ $all->{data} }), 'with id, time and tokens';
    my ($path, @got, $n) = ("/v1/conversations/$c/messages?limit=4");
    while ($path && ++$n < 9) {
        my $r = $si->json(GET => $path)->{json};
        push @got, [map { $_->{number} } @{ $r->{data} }];
        $path = $r->{next} && "/v1/conversations/$c/messages?limit=4&cursor=$r->{next}";
    }
    is_deeply \@got, [[1 .. 4], [5, 6]], 'in pages';
    is $si->json(HEAD => "/v1/conversations/$c/messages")->{status}, 200, 'HEAD';
};

subtest 'probes' => sub {
    my $r = $si->http(GET => '/readyz');
    is $r->{status}, 200, 'ready';
    my $ready = JSON::PP->new->decode($r->{body});
    ok $ready->{$_}, $_ for qw(ready database redis);
    stepped();
    my $t = post_turn($si, conversation($si), 'wait');
    my $n = asked();
    my $found = poll_until { my $s = $si->status; grep { $_->{turn} eq $t->{id} } map { @{ $_->{running} || [] } } running_of($s) } undef, 'the turn in /status';
    ok $found, '/status lists the running turn';
    $model->finish($n);
    wait_turn($si, $t->{id});
};

# Objects that have a list "running", wherever the edge puts what its workers say.
sub running_of {
    my $v = shift;
    return map { running_of($_) } @$v if ref $v eq 'ARRAY';
    return () unless ref $v eq 'HASH';
    return (ref $v->{running} eq 'ARRAY' ? $v : (), map { running_of($_) } grep { ref } values %$v);
}

done_testing;
