# Bad input: every answer is a problem with a stable code and the field's name, never a 500, and nobody dies of it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model);
my $conv = conversation($si);
my $turn = run_turn($si, $conv, 'a good one')->{id};
my @pids = ($si->worker_pids, $si->nginx_pids);
my $asked = $model->count;
my $unknown = '01936400-0000-7000-8000-000000000000';
my %json = ('Content-Type' => 'application/json');
my ($turns, $events) = ("/v1/conversations/$conv/turns", "/v1/conversations/$conv/events");

sub call { my ($method, $path, $body, $headers) = @_; return $si->http($method, $path, $si->auth({ defined $body ? %json : (), %{ $headers || {} } }), $body) }
sub short { my $s = shift; $s = substr($s, 0, 40) . '...' if length $s > 50; return $s =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger }
sub head_of { return join '', "$_[0] HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ", $si->key, "\r\n", @_[1 .. $#_] }
my $deep = 10_000;

subtest 'bodies that are no JSON' => sub {
    my @bad = ('', ' ', '{', '}', '{"input":', '{"input":"x"', '{"input":"x"}}', '{"input":"x"} x', "{'input':'x'}", '{input:"x"}', '{"input":"x",}',
        '{"input":"x" "model":"y"}', '{"input":tru}', '{"input":NaN}', '{"input":1e999}', '{"input":01}', '{"input":"\x"}', '{"input":"\u12"}',
        "{\"input\":\"a\nb\"}", "{\"input\":\"a\tb\"}", "\xef\xbb\xbf{\"input\":\"x\"}", '/* c */{"input":"x"}', 'input=x', '<input/>',
        '{"input":"x","input":"y"}', '{"input":"x","\u0069nput":"y"}', '{"input":"x","a":{"b":1,"b":2}}',
        # NUL, raw and escaped, in a value and in a name
        "{\"input\":\"a\0b\"}", "{\"input\":\"x\"}\0", "\0", '{"input":"a\u0000b"}', '{"a\u0000b":1}', '{"input":"x","client_turn_id":"\u0000"}',
        # surrogates that are alone or the wrong way round
        '{"input":"\ud800"}', '{"input":"\udc00"}', '{"input":"\udc00\ud800"}', '{"input":"\ud83dx"}', '{"\ud800":1}',
        # no UTF-8: a lone byte, overlong forms, a surrogate, beyond U+10FFFF, cut
        map({ "{\"input\":\"$_\"}" } "\xff", "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xed\xa0\xbd\xed\xb8\x80", "\xf0\x80\x80\x80",
            "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "\xc3"), "{\"\xff\":1}",
        # nesting
        '[' x $deep, '[' x $deep . ']' x $deep, '{"a":' x $deep . '1' . '}' x $deep, '{"input":' . '[' x $deep . ']' x $deep . '}',
        '{"input":' . '{"a":[' x $deep . ']}' x $deep . '}', '[' x 1_000_000);
    is_problem call(POST => $turns, $_), 400, 'invalid_json', undef, 'turn ' . short($_) for @bad;
    is_problem call(POST => '/v1/conversations', $_), 400, 'invalid_json', undef, 'conversation ' . short($_) for '[' x 8000, grep { length && length() < 8000 } @bad;
};

subtest 'JSON that is wrong' => sub {
    is_problem call(POST => $turns, $_), 422, 'invalid_field', undef, "turn $_" for 'null', 'true', '0', '-1.5', '"input"', '[]', '[{"input":"x"}]';
    is_problem call(POST => '/v1/conversations', $_), 422, 'invalid_field', undef, "conversation $_" for 'null', 'false', '1', '"title"', '[]';
    my @table = (
        ['{}', 'input'], ['{"input":null}', 'input'], ['{"input":""}', 'input'], (map { ["{\"input\":$_}", 'input'] } 'true', '0', '1.5', '[]', '{}', '["x"]'),
        ['{"input":"x","inputs":"y"}', 'inputs'], ['{"input":"x","Input":"y"}', 'Input'], ['{"input":"x","":1}', ''], ['{"input":"x","\u00e9":1}', "\x{e9}"],
        ['{"input":"x","__proto__":{}}', '__proto__'], ['{"input":"x","id":"y"}', 'id'], ['{"input":"x","tenant":"y"}', 'tenant'],
        (map { my $f = $_; map { ["{\"input\":\"x\",\"$f\":$_}", $f] } 'true', '1', '[]', '{}' } qw(model agent client_turn_id)),
        ['{"input":"x","client_turn_id":""}', 'client_turn_id'], ['{"input":"x","client_turn_id":"' . 'c' x 129 . '"}', 'client_turn_id'],
        ['{"input":"x","model":"' . 'm' x 201 . '"}', 'model'], ['{"input":"x","agent":"' . 'a' x 300 . '"}', 'agent'],
    );
    is_problem call(POST => $turns, $_->[0]), 422, 'invalid_field', $_->[1], 'turn ' . short($_->[0]) for @table;
    is_problem call(POST => $turns, '{"input":"x","' . 'n' x 5000 . '":1}'), 422, 'invalid_field', 'n' x 64, 'a long name is cut';
    is_problem call(POST => $turns, '{"input":"x","' . "\xc3\xa9" x 50 . '":1}'), 422, 'invalid_field', "\x{e9}" x 32, 'between characters';
    is_problem call(POST => $turns, "{\"input\":\"x\",\"model\":\"$_\"}"), 422, 'unknown_model', 'model', "model $_" for 'gpt', 'Offline', 'fake-1 ', "' OR 1=1", '../x';
    is_problem call(POST => $turns, "{\"input\":\"x\",\"agent\":\"$_\"}"), 422, 'unknown_agent', 'agent', "agent $_" for 'nobody', '%s%s%n';
    my @titles = (['{"title":1}', 'title'], ['{"title":[]}', 'title'], ['{"title":{}}', 'title'], ['{"title":true}', 'title'], ['{"name":"x"}', 'name'],
        ['{"title":"' . 't' x 201 . '"}', 'title'], ['{"title":"' . "\xf0\x9f\x98\x80" x 201 . '"}', 'title'], ['{"title":"' . 't' x 7000 . '"}', 'title']);
    is_problem call(POST => '/v1/conversations', $_->[0]), 422, 'invalid_field', $_->[1], 'conversation ' . short($_->[0]) for @titles;
};

subtest 'sizes' => sub {
    my $max = 256 * 1024;
    $model->next(kind => 'tokens', tokens => ['ok']);
    my $t = run_turn($si, $conv, 'i' x $max);
    $asked++;
    is length $t->{input}, $max, '256 KiB of input are taken';
    $model->next(kind => 'tokens', tokens => ['ok']);
    my $r = call(POST => $turns, '{"input":"' . '\u0041' x $max . '"}');
    $asked++;
    is $r->{status}, 200, 'also when every character is escaped';
    is_problem call(POST => $turns, '{"input":"' . 'i' x ($max + 1) . '"}'), 422, 'invalid_field', 'input', 'one byte more is not';
    is_problem call(POST => $turns, '{"input":"' . "\xe2\x82\xac" x ($max / 3 + 1) . '"}'), 422, 'invalid_field', 'input', 'bytes are counted';
    is_problem call(POST => $turns, '{"input":"' . 'i' x 3_000_000 . '"}'), 413, 'body_too_large', undef, 'a body of 3 MB, by the worker';
    is_problem call(POST => $turns, '{"input":"' . 'i' x 10_000_000 . '"}'), 413, 'body_too_large', undef, 'a body of 10 MB, by the edge';
    is_problem call(POST => '/v1/conversations', '{"title":"' . 'i' x 10_000 . '"}'), 413, 'body_too_large', undef, 'a conversation of 10 KB';
    is_problem call(POST => "/v1/turns/$turn/cancel", 'x' x 10_000), 413, 'body_too_large', undef, 'a cancel of 10 KB';
    my $chunked = sub { my $b = shift; return join('', map { sprintf "%x\r\n%s\r\n", length, $_ } unpack '(a50000)*', $b) . "0\r\n\r\n" };
    my %h = (%json, 'Transfer-Encoding' => 'chunked');
    is_problem call(POST => $turns, $chunked->('{"input":"' . 'i' x ($max + 1) . '"}'), \%h), 422, 'invalid_field', 'input', 'chunked, too long an input';
    is_problem call(POST => $turns, $chunked->('{"input":"' . 'i' x 3_000_000 . '"}'), \%h), 413, 'body_too_large', undef, 'chunked, 3 MB';
    is_problem call(POST => $turns, $chunked->('{"input":"' . 'i' x 10_000_000 . '"}'), \%h), 413, 'body_too_large', undef, 'chunked, 10 MB';
    is_problem call(POST => $turns, "zz\r\n{}\r\n0\r\n\r\n", \%h), 400, 'bad_request', undef, 'broken chunks';
    is call(POST => '/v1/conversations', $chunked->('{"title":"in chunks"}'), \%h)->{status}, 201, 'good chunks';
    is call(POST => '/v1/conversations', '{"title":"x"}', { Expect => '100-continue' })->{status}, 201, 'Expect: 100-continue';
};

subtest 'content types' => sub {
    for my $type ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/j', 'application/jsonp', 'application/json5',
        'application/xml', 'json', '*/*', 'x' x 1000, "\xff")
    {
        is_problem call(POST => $turns, '{"input":"x"}', { 'Content-Type' => $type }), 415, 'unsupported_media_type', undef, short($type);
        is_problem call(POST => '/v1/conversations', '{}', { 'Content-Type' => $type }), 415, 'unsupported_media_type', undef, 'conversation ' . short($type);
    }
    for my $type ('application/json', 'Application/JSON', 'application/json; charset=utf-8', 'application/json;charset=UTF-8', 'application/json ;x=y') {
        is call(POST => '/v1/conversations', '{}', { 'Content-Type' => $type })->{status}, 201, "$type is JSON";
    }
    is $si->http(POST => '/v1/conversations', $si->auth, '{}')->{status}, 201, 'none is JSON';
};

subtest 'ids that are none' => sub {
    my @ids = ($unknown, 'abc', '1', '-', '*', '..', '%2e%2e', '%20', "$unknown%20", "${unknown}0", substr($unknown, 1), "{$unknown}", 'urn:uuid:' . $unknown,
        $unknown =~ tr/-//dr, "'%20OR%201=1--", '%27%3b', '%ff%fe', '%e2%80%a8', 'null', 'undefined', '[object%20Object]', '00000000-0000-0000-0000-000000000000',
        'ffffffff-ffff-ffff-ffff-ffffffffffff', "zzzzzzzz-0000-7000-8000-000000000000", 'x' x 900, $unknown =~ s/0/g/r, $turn);
    for my $id (@ids) {
        my $not_turn = $id eq $turn ? $conv : $id;
        next if $id =~ /^(?:\.\.|%2e%2e)$/;
        is_problem call(GET => "/v1/conversations/$id"), 404, 'not_found', undef, 'GET conversation ' . short($id);
        is_problem call(GET => "/v1/conversations/$id/messages"), 404, 'not_found', undef, 'messages';
        is_problem call(GET => "/v1/conversations/$id/events"), 404, 'not_found', undef, 'events';
        is_problem call(POST => "/v1/conversations/$id/turns", '{"input":"x"}'), 404, 'not_found', undef, 'turns';
        is_problem call(GET => "/v1/turns/$not_turn"), 404, 'not_found', undef, 'GET turn';
        is_problem call(GET => "/v1/turns/$not_turn/events"), 404, 'not_found', undef, 'its events';
        is_problem call(POST => "/v1/turns/$not_turn/cancel"), 404, 'not_found', undef, 'its cancel';
    }
    is_problem call(GET => "/v1/conversations/$_/turns"), 404, 'not_found', undef, $_ for '..', '%2e%2e', '../../etc', '%2f';
    is_problem call(GET => "/v1/conversations/$conv%00"), 400, 'bad_request', undef, 'NUL in a path';
};

subtest 'routes' => sub {
    my %allow = ('/v1/conversations' => 'POST, GET, HEAD, OPTIONS', "/v1/conversations/$conv" => 'GET, HEAD, OPTIONS', $turns => 'POST, OPTIONS',
        $events => 'GET, HEAD, OPTIONS', "/v1/conversations/$conv/messages" => 'GET, HEAD, OPTIONS', "/v1/turns/$turn" => 'GET, HEAD, OPTIONS',
        "/v1/turns/$turn/events" => 'GET, HEAD, OPTIONS', "/v1/turns/$turn/cancel" => 'POST, OPTIONS', '/readyz' => 'GET, HEAD, OPTIONS', '/openapi.json' => 'GET, HEAD, OPTIONS');
    for my $path (sort keys %allow) {
        for my $method (qw(GET POST PUT PATCH DELETE FOO PROPFIND)) {
            next if $allow{$path} =~ /\b$method\b/;
            my $r = call($method, $path, $method =~ /^P/ ? '{}' : undef);
            is_problem $r, 405, 'method_not_allowed', undef, "$method $path";
            is $r->{headers}{allow}, $allow{$path}, 'Allow';
        }
    }
    is call(HEAD => $turns)->{status}, 405, 'HEAD where there is no GET';
    is_problem call(TRACE => '/v1/conversations'), 405, 'method_not_allowed', undef, 'TRACE';
    is_problem call($_->[0], $_->[1]), 404, 'not_found', undef, "$_->[0] " . short($_->[1]) for ['GET', '/v1/'], ['GET', '/v1/nothing'], ['POST', '/v1/turns'],
        ['GET', '/v1/conversations/'], ['GET', "/v1/conversations/$conv/"], ['GET', "/v1/conversations/$conv/turns/1"], ['GET', "/v1/conversations/$conv/nothing"],
        ['DELETE', '/v1/x'], ['GET', '/v1/Conversations'], ['OPTIONS', '/v1/nothing'], ['GET', '/v1/conversations%3flimit=1'], ['GET', '/nothing'], ['GET', '/v2/conversations'],
        ['GET', '/status/x'], ['GET', '/v1/' . 'a/' x 500];
    is_problem call(GET => '/..%2f..%2fetc/passwd'), 400, 'bad_request', undef, 'a path above the root';
};

subtest 'lists' => sub {
    my $cursor = do { conversation($si) for 1 .. 2; $si->json(GET => '/v1/conversations?limit=1')->{json}{next} };
    my $message = $si->json(GET => "/v1/conversations/$conv/messages?limit=1")->{json}{next};
    ok $cursor && $message, 'there are cursors';
    for my $path ('/v1/conversations', "/v1/conversations/$conv/messages") {
        is_problem call(GET => "$path?limit=$_"), 422, 'invalid_field', 'limit', "$path limit " . short($_)
            for 0, 101, -1, '', 'x', '1.5', '1e1', '%31%30%00', '+5', '%20', '0x10', '99999999999999999999', '9' x 500, '%', '%f', '1;2', 'NaN';
        my $other = $path =~ /messages/ ? $cursor : $message;
        is_problem call(GET => "$path?cursor=$_"), 400, 'invalid_cursor', 'cursor', "$path cursor " . short($_)
            for $other, 'x', '1', '%00', '%ff', '%', '%zz', '..', 'bTo', 'bTot', 'bTotMQ', 'bTox%20', 'Yzo', 'Yzphd2Vz', 'A' x 5000, '=', '====', $unknown, '%27%20OR%201%3d1';
        is call(GET => "$path?limit=1&limit=0")->{status}, 200, 'the first of two counts';
        is call(GET => "$path?$_")->{status}, 200, 'junk is not looked at: ' . short($_) for '', '&', '&&&=', '=', '?', 'limits=0', 'x=%zz&%', 'a' x 2000, '%7f', 'limit%3d0', '[]=1', 'LIMIT=0';
    }
    is call(GET => '/v1/conversations?cursor=')->{status}, 200, 'an empty cursor is none';
    is call(GET => '/v1/conversations?limit=%31')->{status}, 200, 'an escaped digit is a digit';
};

subtest 'credentials' => sub {
    my $key = $si->key;
    my @bad = (undef, '', 'Bearer', 'Bearer ', 'Bearer  ', $key, "Basic $key", 'Basic dTpw', "Token $key", "Bearer$key", "Bearer ${key}x", 'Bearer ' . substr($key, 0, -1),
        'Bearer ' . uc $key, "Bearer $key $key", "Bearer \"$key\"", "Bearer $key,", 'Bearer sk_si_', 'Bearer sk_si_' . 'A' x 43, 'Bearer null', 'Bearer ' . 'x' x 4000,
        "Bearer \xff\xfe", "Bearer ' OR 1=1", 'Bearer ' . '%00' x 10, "Bearer\t$key", 'Digest username="x"');
    for my $value (@bad) {
        is_problem $si->http(GET => '/v1/conversations', { defined $value ? (Authorization => $value) : () }), 401, 'unauthorized', undef, defined $value ? short($value) : 'none';
    }
    is_problem $si->http($_->[0], $_->[1], { %json, Authorization => 'Bearer nope' }, $_->[0] eq 'POST' ? '{"input":"x"}' : undef), 401, 'unauthorized', undef, "$_->[0] $_->[1]"
        for ['POST', '/v1/conversations'], ['GET', "/v1/conversations/$conv"], ['POST', $turns], ['GET', $events], ['GET', "/v1/conversations/$conv/messages"],
        ['GET', "/v1/turns/$turn"], ['GET', "/v1/turns/$turn/events"], ['POST', "/v1/turns/$turn/cancel"], ['GET', '/v1/conversations/abc'], ['GET', "/v1/conversations/$unknown"];
    is_problem $si->http(POST => $turns, { %json, Authorization => 'Bearer nope' }, '{"input":"' . 'i' x 2_000_000 . '"}'), 401, 'unauthorized', undef, 'before a large body is read';
    is $si->http(GET => '/v1/conversations', { Authorization => "$_ $key" })->{status}, 200, "$_ is Bearer" for 'bearer', 'BEARER';
    is $si->http(GET => '/v1/conversations', { 'authorization' => "Bearer $key  " })->{status}, 200, 'space around a header is nothing';
};

subtest 'headers' => sub {
    is_problem call(POST => $turns, '{"input":"x"}', { 'Idempotency-Key' => $_ }), 422, 'invalid_field', 'Idempotency-Key', short($_) for 'k' x 256, "k\xe9", "k\tk", 'k' x 5000, "\x7f";
    is_problem call(POST => '/v1/conversations', '{}', { 'Idempotency-Key' => 'k' x 256 }), 422, 'invalid_field', 'Idempotency-Key', 'conversation';
    is call(POST => '/v1/conversations', '{}', { 'Idempotency-Key' => 'k' x 255 })->{status}, 201, '255 are good';
    is_problem call(GET => '/v1/conversations', undef, { Cookie => 'c' x 9000 }), 431, 'headers_too_large', undef, 'a header of 9 KB';
    is_problem call(GET => '/v1/conversations', undef, { map { ("X-$_" => 'v' x 7000) } 1 .. 6 }), 431, 'headers_too_large', undef, 'headers of 42 KB';
    is_problem call(GET => '/v1/conversations', undef, { map { ("X-$_" => 1) } 1 .. 150 }), 431, 'too_many_headers', undef, '150 headers';
    is call(GET => '/v1/conversations', undef, { map { ("X-$_" => 'v' x 70) } 1 .. 80 })->{status}, 200, '80 headers are good';
    is_problem call(GET => '/v1/conversations?' . 'q' x 9000), 414, 'uri_too_long', undef, 'an address of 9 KB';
    is call(GET => '/v1/conversations?' . 'q' x 7000)->{status}, 200, 'one of 7 KB is good';
    is call(GET => '/v1/conversations', undef, { Accept => $_ })->{status}, 200, 'Accept ' . short($_) for '', 'x' x 3000, "\xff", 'text/event-stream', '*/*;q=0';
    is call(POST => "/v1/turns/$turn/cancel", undef, { Prefer => "\xff", 'Last-Event-ID' => 'x' })->{status}, 200, 'headers that a route does not know';
};

subtest 'no HTTP' => sub {
    for (['GET /v1/conversations', 'no version'], ['GET', 'a word'], ["\x16\x03\x01\x02\x00\x01\x00", 'a TLS hello'], ['get /v1/conversations HTTP/1.1', 'lower case'],
        ['GET /v1/conversations HTTP/9.9', 'a version to come'], ['GET v1/conversations HTTP/1.1', 'no slash'], ["GET /v1/\0 HTTP/1.1", 'NUL'])
    {
        my ($line, $what) = @$_;
        my $s = SI::Test::Stream->new(port => $si->port, raw_request => "$line\r\nHost: x\r\n\r\n", path => $what, keep_body => 1);
        SI::Test::Stream->pump_all([$s], sub { $s->ended || $s->status }) if $what !~ /^(?:no version|a word)$/;
        ok !$s->status || $s->status =~ /^(?:400|505)$/, "refused or closed: $what";
        $s->close;
    }
    is_problem $si->raw("GET /v1/conversations HTTP/1.1\r\n\r\n"), 400, 'bad_request', undef, 'no Host';
    is_problem $si->raw(head_of('GET /v1/conversations', "Content-Length: x\r\n\r\n")), 400, 'bad_request', undef, 'a length that is no number';
    is_problem $si->raw(head_of("POST $turns", "Content-Length: -1\r\n\r\n")), 400, 'bad_request', undef, 'a negative length';
    is_problem $si->raw(head_of("POST $turns", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), 400, 'bad_request', undef, 'two lengths';
    # Requests that break off: nothing may be left of them.
    for my $part (head_of("POST $turns", "Content-Length: 500000\r\n\r\n{\"input\":\""), head_of("POST $turns", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"i"),
        head_of("POST $turns", "Content-Ty"), 'POST ')
    {
        SI::Test::Stream->new(port => $si->port, raw_request => $part, path => 'part')->rst for 1 .. 3;
    }
    my $s = SI::Test::Stream->new(port => $si->port, raw_request => head_of("POST $turns", "Content-Length: 2000000\r\n\r\n" . 'x' x 1_000_000), path => 'part');
    $s->rst;
    ok 1, 'requests that break off';
};

subtest 'and afterwards' => sub {
    is $model->count, $asked, 'none of it was asked of the model';
    my ($n) = $si->pg("SELECT count(*) FROM turn WHERE state NOT IN ('completed')");
    is $n, 0, 'nor left in the store';
    is run_turn($si, $conv, 'another good one')->{state}, 'completed', 'a good turn completes';
    is_deeply [$si->worker_pids, $si->nginx_pids], \@pids, 'the same processes serve';
    poll_until { my ($w) = grep { ref } values_of($si->status); $w->{calls} <= 1 } undef, 'the end of all calls';
    ok 1, 'no call is left but the one that asks';
};

# What the workers say in /status, wherever the edge puts it.
sub values_of {
    my $v = shift;
    return map { values_of($_) } @$v if ref $v eq 'ARRAY';
    return () unless ref $v eq 'HASH';
    return (exists $v->{conversations} && exists $v->{coroutines} ? $v : (), map { values_of($_) } grep { ref } values %$v);
}

done_testing;
