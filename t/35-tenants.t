# Nobody sees another's: over HTTP, and in the database, whatever the worker would ask it.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;

my $model = SI::Model->start;
# What the database says of a key counts at once here.
my $si = SI::Test->start(model => $model, workers => 2, config => "auth: { cache: 0s, negative_cache: 0s }\n");
my $ann = member($si, create_key($si, 'acme', 'ann'));
my %others = ('a user of the same tenant' => member($si, create_key($si, 'acme', 'bob')),
    'a user of another tenant' => member($si, create_key($si, 'umbrella', 'ann')));
my $unknown = '01936400-0000-7000-8000-000000000000';

is create_key($si, 'acme', 'ann') eq $ann->key, '', 'a second key of the same user is another key';
my ($users, $tenants) = ($si->pg('SELECT count(*) FROM app_user'), $si->pg('SELECT count(*) FROM tenant'));
is "$users $tenants", '4 3', 'but the user and the tenant are there once';

my $conv = conversation($ann, { title => 'a secret title' });
my $done = run_turn($ann, $conv, 'a secret question');
$model->next(kind => 'step');
my $live = $ann->stream(POST => "/v1/conversations/$conv/turns", { input => 'a secret that runs', client_turn_id => 'c' });
my $n = $model->wait_request(2);
$model->go($n, 'an answer ');
my $running = $live->wait_event('delta')->{data}{turn};
my $cursor = do { conversation($ann); $ann->json(GET => '/v1/conversations?limit=1')->{json}{next} };

my ($her_key) = $si->pg("SELECT key_id FROM api_key WHERE hash = sha256('" . $ann->key . "')");

# Every route with an id in it.
my @routes = (['GET', '/v1/conversations/%s', $conv], ['HEAD', '/v1/conversations/%s', $conv], ['GET', '/v1/conversations/%s/messages', $conv],
    ['GET', '/v1/conversations/%s/readers', $conv], ['HEAD', '/v1/conversations/%s/readers', $conv],
    ['GET', '/v1/conversations/%s/events', $conv], ['GET', '/v1/conversations/%s/events?from=start', $conv], ['GET', '/v1/conversations/%s/events?last_event_id=1.1', $conv],
    ['HEAD', '/v1/conversations/%s/events', $conv], ['POST', '/v1/conversations/%s/turns', $conv, { input => 'intruder' }],
    ['POST', '/v1/conversations/%s/turns', $conv, { input => 'a secret that runs', client_turn_id => 'c' }], ['DELETE', '/v1/keys/%s', $her_key],
    map { my $t = $_; (['GET', '/v1/turns/%s', $t], ['HEAD', '/v1/turns/%s', $t], ['GET', '/v1/turns/%s/events', $t], ['GET', '/v1/turns/%s/events?last_event_id=1.1', $t],
        ['POST', '/v1/turns/%s/cancel', $t]) } $done->{id}, $running);

# What must not be in anything that another one gets: what she has said and made, and who she is.
my ($her_tenant, $her_user) = map { @$_ } $si->pg("SELECT tenant_id, user_id FROM conversation WHERE conversation_id = '$conv'");
my $hers = join '|', map { quotemeta } 'a secret', $conv, $done->{id}, $running, $her_key, $her_user, hint($ann->key), $ann->key;

sub keeps { my ($name, $text) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; cmp_ok length $text, '>', 0, "$name says something"; unlike $text, qr/$hers/, 'and nothing of hers' }
sub answer_keeps { my ($name, $status, $r) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; is $r->{status}, $status, $name; keeps($name, $r->{raw_head} . $r->{body}) }

# Every operation without an id of hers in its path: as another one calls it, who has a conversation and turn of the own.
my %calls = (
    'GET /v1/conversations' => sub {
        my ($other, $own) = @_;
        my $r = $other->json(GET => '/v1/conversations');
        answer_keeps('the list', 200, $r);
        is_deeply [map { $_->{id} } @{ $r->{json}{data} }], [$own], 'it holds the own one alone';
        is_deeply $other->json(GET => "/v1/conversations?cursor=$cursor")->{json}, { data => [], next => undef }, 'also with a cursor of the owner';
    },
    'POST /v1/conversations' => sub {
        my ($other) = @_;
        my %key = ('Idempotency-Key' => 'hers');
        my $id = conversation($ann, { title => 'a secret of a key' }, \%key);
        my $r = $other->json(POST => '/v1/conversations', { title => 'x' }, \%key);
        answer_keeps('a key that she has used', 201, $r);
        isnt $r->{json}{id}, $id, 'leads to another one';
    },
    'GET /v1/events' => sub {
        my ($other, undef, $turn) = @_;
        my $s = $other->stream(GET => '/v1/events?from=start');
        $s->wait_event('turn.completed');
        is $s->{seen}[-1]{data}{turn}, $turn, 'the own turn';
        keeps('the stream of all', join '', map { $_->{raw} } $s->seen, $s->events);
    },
    'GET /v1/socket' => sub {
        my ($other, undef, $turn) = @_;
        my $ws = SI::Test::Socket->new(port => $si->port, key => $other->key);
        is $ws->subscribe($conv)->{status}, 404, 'her conversation';
        $ws->say({ type => 'turn', conversation => $conv, input => 'intruder', ref => 't' })->say({ type => 'cancel', turn => $running, ref => 'c' });
        is $ws->reply($_)->{status}, 404, $_ for qw(t c);
        $ws->say({ type => 'subscribe', conversation => '*', from => 'start', ref => 'all' });
        is $ws->reply('all')->{status}, 200, 'all';
        my @seen = $ws->event_of($turn, 'turn.completed');
        keeps('the WebSocket', JSON::PP->new->encode(\@seen));
        $ws->close;
    },
    'POST /v1/revocations' => sub {
        my ($other) = @_;
        is_problem $other->json(POST => '/v1/revocations', { issuer => 'https://id.example', subject => 'ann' }), 403, 'forbidden', undef, 'nobody without the scope revokes';
    },
    'DELETE /v1/revocations/{id}' => sub { is_problem $_[0]->json(DELETE => "/v1/revocations/$unknown"), 403, 'forbidden', undef, 'nor takes one back' },
    'GET /v1/revocations' => sub { is_problem $_[0]->json(GET => '/v1/revocations'), 403, 'forbidden', undef, 'nobody without the scope sees any' },
    'POST /v1/tickets' => sub {
        my ($other) = @_;
        for ("/v1/conversations/$conv/events", "/v1/turns/$running/events") {
            my $r = $other->json(POST => '/v1/tickets', { path => $_ });
            is $r->{status}, 201, 'a ticket';
            is_problem $si->http(GET => "$_?ticket=$r->{json}{ticket}"), 404, 'not_found', undef, 'for what is hers finds nothing';
        }
    },
    'GET /v1/keys' => sub {
        my ($other) = @_;
        my $r = $other->json(GET => '/v1/keys');
        answer_keeps('the list of keys', 200, $r);
        is join(' ', map { $_->{hint} } @{ $r->{json}{data} }), hint($other->key), 'holds the own one alone';
    },
    'GET /v1/usage' => sub {
        my ($other, undef, $turn) = @_;
        my ($user) = $si->pg("SELECT user_id FROM turn WHERE turn_id = '$turn'");
        for my $group (qw(user model agent key day)) {
            my $r = $other->json(GET => "/v1/usage?group=$group");
            answer_keeps("the usage by $group", 200, $r);
            is_deeply [map { $_->{name} } @{ $r->{json}{data} }], [$user], 'is of the own calls alone' if $group eq 'user';
        }
    },
    'POST /v1/keys' => sub { is_problem $_[0]->json(POST => '/v1/keys', { user => 'ann' }), 403, 'forbidden', undef, 'a key without a scope makes none' },
    'GET /v1/budgets' => sub { answer_keeps('what is left', 200, $_[0]->json(GET => '/v1/budgets')) },
    'POST /v1/chat/completions' => sub {
        answer_keeps('a call of a model', 200, $_[0]->json(POST => '/v1/chat/completions', { model => 'offline', messages => [{ role => 'user', content => 'Where was a question asked?' }] }));
    },
    'POST /v1/messages' => sub {
        answer_keeps('a call of a model, as Anthropic', 200, $_[0]->json(POST => '/v1/messages', { model => 'offline', max_tokens => 100, messages => [{ role => 'user', content => 'Where was a question asked?' }] }));
    },
    'POST /v1/messages/count_tokens' => sub {
        answer_keeps('a count of tokens', 200, $_[0]->json(POST => '/v1/messages/count_tokens', { model => 'offline', messages => [{ role => 'user', content => 'Where was a question asked?' }] }));
    },
    'POST /v1/responses' => sub { answer_keeps('a response', 200, $_[0]->json(POST => '/v1/responses', { model => 'offline', input => 'Where was a question asked?' })) },
    'POST /v1/embeddings' => sub { answer_keeps('embeddings', 200, $_[0]->json(POST => '/v1/embeddings', { model => 'lexical', input => 'Where was a question asked?' })) },
    'GET /v1/models' => sub { answer_keeps('the models', 200, $_[0]->json(GET => '/v1/models')) },
    'GET /v1/models/{model}' => sub { answer_keeps('a model', 200, $_[0]->json(GET => '/v1/models/offline')) },
    (map { my $path = $_; ("GET $path" => sub { answer_keeps($path, 200, $si->http(GET => $path)) }) } '/healthz', '/readyz', '/openapi.json', '/metrics'),
    # For the machine itself, which it shows the ids of what runs.
    'GET /status' => sub { unlike $si->http(GET => '/status')->{body}, qr/a secret|$her_user|\Q@{[ $ann->key ]}/, 'the status has no text, and no user' },
);

subtest 'every operation of conf/openapi.yaml is tried' => sub {
    my %have = map { $_ => 1 } keys %calls;
    for (grep { $_->[0] ne 'HEAD' } @routes) { my ($m, $p) = @$_; $p =~ s/\?.*//; $p =~ s/%s/{id}/; $have{"$m $p"} = 1 }
    my (%want, $path, $in_paths);
    for (split /\n/, slurp(root() . '/conf/openapi.yaml')) {
        $in_paths = $1 eq 'paths' if /^(\w+):/;
        $path = $1 if $in_paths && m{^  (/\S*):$};
        $want{ uc($1) . " $path" } = 1 if $in_paths && /^    (get|put|post|patch|delete|head|options):$/;
    }
    cmp_ok scalar(keys %want), '>=', 22, 'they were read';
    is_deeply [grep { !$have{$_} } sort keys %want], [], 'a new one needs a case here: in @routes if its path holds an id, else in %calls';
    is_deeply [grep { !$want{$_} } sort keys %have], [], 'none has gone';
};

sub hint { my $key = shift; return substr($key, 0, 10) . "\x{2026}" . substr $key, -4 }

for my $who (sort keys %others) {
    my $other = $others{$who};
    subtest $who => sub {
        for (@routes) {
            my ($method, $path, $id, $body) = @$_;
            my $theirs = $other->json($method, sprintf($path, $id), $body);
            my $none = $other->json($method, sprintf($path, $unknown), $body);
            my $junk = $other->json($method, sprintf($path, 'junk'), $body);
            is $theirs->{status}, 404, "$method $path";
            is $theirs->{body}, $none->{body}, 'no other body than for an id that is not there' if $method ne 'HEAD';
            my $head = sub { my %h = %{ $_[0]{headers} }; delete $h{date}; return \%h };
            is_deeply $head->($theirs), $head->($none), 'nor other headers';
            is $junk->{status}, 404, 'and for one that is none';
        }
        is_deeply $other->json(GET => '/v1/conversations')->{json}, { data => [], next => undef }, 'the list is empty';
        my $c = conversation($other);
        my $t = run_turn($other, $c, { input => 'an own word', model => 'offline' });
        for (sort keys %calls) {
            subtest $_ => $calls{$_}, $other, $c, $t->{id};
        }
        $t = run_turn($other, $c, { input => 'Where was a secret question asked?', model => 'offline' });
        unlike $t->{output}, qr/Elsewhere|secret question"/, 'the offline answerer finds nothing of the owner';
    };
}

subtest 'the owner' => sub {
    my $t = run_turn($ann, conversation($ann), { input => 'Where was a secret question asked?', model => 'offline' });
    like $t->{output}, qr/Elsewhere you have said:\n- "a secret question"/, 'finds what she has said elsewhere';
    is $ann->json(GET => "/v1/turns/$running")->{json}{state}, 'running', 'her turn was not cancelled';
    is $ann->json(GET => "/v1/conversations/$conv")->{json}{last_turn}, 2, 'and nobody has added one';
    is scalar(@{ $ann->json(GET => '/v1/conversations')->{json}{data} }), 4, 'her list';
};

subtest 'an admin of another tenant' => sub {
    my $admin = member($si, create_key($si, 'umbrella', 'chief', '--scopes', 'admin'));
    is join(' ', sort map { $_->{user} } @{ $admin->json(GET => '/v1/keys')->{json}{data} }), 'ann chief', 'sees the keys of that tenant';
    is_problem $admin->json(DELETE => "/v1/keys/$her_key"), 404, 'not_found', undef, 'and may not revoke one of this';
    is $ann->json(GET => '/v1/conversations?limit=1')->{status}, 200, 'which is good still';
    my $hers = member($si, create_key($si, 'acme', 'root', '--scopes', 'admin'))->json(POST => '/v1/revocations', { issuer => 'https://id.example', subject => 'zoe' })->{json}{id};
    answer_keeps('revocations', 200, $admin->json(GET => '/v1/revocations'));
    is_deeply $admin->json(GET => '/v1/revocations')->{json}{data}, [], 'sees none of this';
    is_problem $admin->json(DELETE => "/v1/revocations/$hers"), 404, 'not_found', undef, 'nor takes one back';
    is_deeply [$si->pg("SELECT count(*) FROM token_revocation WHERE revocation_id = '$hers'")], [1], 'which counts still';
    my $made = $admin->json(POST => '/v1/keys', { user => 'ann' })->{json};
    is member($si, $made->{key})->json(GET => "/v1/conversations/$conv")->{status}, 404, 'nor does a user of the same name there lead to her';
    ok $si->pg("SELECT count(*) FROM api_key k JOIN tenant t USING (tenant_id) WHERE k.key_id = '$made->{id}' AND t.name = 'umbrella'"), 'the key is one of that tenant';
    is $admin->json(DELETE => "/v1/keys/$made->{id}")->{status}, 204, 'which its admin revokes';
};

subtest 'an intruder at the same moment' => sub {
    # Opening a conversation takes a look at the database; who knocks meanwhile must be told the truth, each his own.
    my @conv = map { conversation($ann) } 1 .. 20;
    my @calls;
    for my $c (@conv) {
        for my $who ((values %others) x 2, $ann, values %others) {
            push @calls, [$who, $who->stream(HEAD => "/v1/conversations/$c/events")];
        }
    }
    $_->[1]->head for @calls;
    is scalar(grep { $_->[0] == $ann && $_->[1]->status != 200 } @calls), 0, 'the owner gets in';
    is scalar(grep { $_->[0] != $ann && $_->[1]->status != 404 } @calls), 0, 'the others do not';
};

subtest 'keys' => sub {
    my ($user) = $si->pg("SELECT user_id FROM app_user u JOIN tenant t USING (tenant_id) WHERE t.name = 'umbrella'");
    my $other = $others{'a user of another tenant'};
    is $other->json(GET => '/v1/conversations')->{status}, 200, 'a good key';
    unlike join(' ', $si->pg("SELECT coalesce(string_agg(api_key::text, ','), '') FROM api_key")), qr/\Q@{[ substr $other->key, 20 ]}/, 'no key is stored';
    $si->pg("UPDATE api_key SET revoked_at = now() WHERE user_id = '$user'");
    is_problem $other->json(GET => '/v1/conversations'), 401, 'unauthorized', undef, 'a revoked one';
    $si->pg("UPDATE api_key SET revoked_at = NULL, expires_at = now() - interval '1 second' WHERE user_id = '$user'");
    is_problem $other->json(GET => '/v1/conversations'), 401, 'unauthorized', undef, 'an expired one';
    $si->pg("UPDATE api_key SET expires_at = now() + interval '1 hour' WHERE user_id = '$user'");
    is $other->json(GET => '/v1/conversations')->{status}, 200, 'one that will expire';
    $si->pg("UPDATE app_user SET status = 'disabled' WHERE user_id = '$user'");
    is_problem $other->json(GET => '/v1/conversations'), 401, 'unauthorized', undef, 'one of a user who is disabled';
    $si->pg("UPDATE app_user SET status = 'active' WHERE user_id = '$user'; UPDATE tenant SET status = 'disabled' WHERE name = 'umbrella'");
    is_problem $other->json(GET => '/v1/conversations'), 401, 'unauthorized', undef, 'one of a tenant that is disabled';
};

# SQL as the worker's role; what came of it.
sub as_worker {
    my ($sql) = @_;
    my ($rc, $out) = SI::Test::run({}, 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $si->{env_file}{SI_WORKER_DATABASE_URL}, '-c', $sql);
    chomp $out;
    return wantarray ? ($rc, $out) : $out;
}

subtest 'row-level security' => sub {
    my @tables = $si->pg("SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')"
        . " AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) ORDER BY 1");
    cmp_ok scalar(@tables), '>=', 11, 'tables that have a tenant';
    my @open = $si->pg("SELECT c.relname FROM pg_class c WHERE c.relname IN (" . join(', ', map { "'$_'" } @tables) . ") AND NOT (c.relrowsecurity AND c.relforcerowsecurity)");
    is_deeply \@open, ['claim'], 'row-level security is forced on all but the list of claims';
    is join(' ', $si->pg("SELECT attname || ':' || format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'claim'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum")),
        'conversation_id:uuid tenant_id:uuid user_id:uuid owner:text epoch:bigint unfinished:boolean claimed_at:timestamp with time zone',
        'which holds ids and times, and nothing that anybody has said';
    is join(' ', $si->pg("SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND relkind IN ('r', 'p') AND NOT relrowsecurity ORDER BY 1")),
        'claim si_migration worker', 'the tables without a tenant hold nothing of one either';
    is join(' ', $si->pg("SELECT relname FROM pg_class c WHERE relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)")), '', 'each has a policy';
    is join(' ', $si->pg("SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind IN ('v', 'm')")), '', 'and no view goes around them';

    my ($tenant, $user) = map { @$_ } $si->pg("SELECT tenant_id, user_id FROM conversation WHERE conversation_id = '$conv'");
    my ($stranger) = $si->pg("SELECT tenant_id FROM tenant WHERE name = 'umbrella'");
    for my $table (qw(conversation turn message idempotency)) {
        for (['without a tenant', ''], ['with an empty one', "SET si.tenant = ''; SET si.user_id = ''; "], ['with one and no user', "SET si.tenant = '$tenant'; "],
            ['with what is no id', "SET si.tenant = 'x'; SET si.user_id = 'y'; "])
        {
            my ($rc, $out) = as_worker("$_->[1]SELECT count(*) FROM $table");
            isnt $rc, 0, "$table $_->[0]: the statement fails";
        }
        is as_worker("SET si.tenant = '$stranger'; SET si.user_id = '$user'; SELECT count(*) FROM $table"), 0, "$table as another tenant: nothing";
        is as_worker("SET si.tenant = '$tenant'; SET si.user_id = '$unknown'; SELECT count(*) FROM $table"), 0, "$table as another user: nothing";
        cmp_ok as_worker("SET si.tenant = '$tenant'; SET si.user_id = '$user'; SELECT count(*) FROM $table"), '>', 0, "$table as its owner: something";
    }
    my ($rc, $out) = as_worker("SET si.tenant = '$stranger'; SET si.user_id = '$user'; INSERT INTO conversation (tenant_id, user_id, conversation_id) VALUES ('$tenant', '$user', '$unknown')");
    like $out, qr/row-level security/, 'nor can a row of another tenant be written';
    ($rc, $out) = as_worker("SET si.tenant = '$stranger'; SET si.user_id = '$user'; UPDATE conversation SET title = 'x'");
    is join(' ', $si->pg("SELECT title FROM conversation WHERE conversation_id = '$conv'")), 'a secret title', 'or changed';
    ($rc, $out) = as_worker("SET si.tenant = '$stranger'; SET si.user_id = '$user'; SET si.key_admin = 'on'; UPDATE api_key SET revoked_at = now() WHERE key_id = '$her_key'; SELECT count(*) FROM api_key WHERE key_id = '$her_key'");
    is $out, 0, 'an admin of another tenant sees no key of this one';
    ($rc, $out) = as_worker("SET si.tenant = '$tenant'; SET si.user_id = '$user'; UPDATE api_key SET revoked_at = NULL");
    like $out, qr/row-level security/, 'no revoked key comes back';
    ($rc, $out) = as_worker("SET si.tenant = '$tenant'; SET si.user_id = '$user'; UPDATE api_key SET scopes = 'admin'");
    like $out, qr/permission denied/, 'or gets a scope';
    is join(' ', $si->pg("SELECT count(*) FROM api_key WHERE key_id = '$her_key' AND revoked_at IS NULL")), 1, 'her key is as it was';
    isnt +(as_worker('SELECT count(*) FROM api_key'))[0], 0, 'keys cannot be listed without a tenant';
    is as_worker("SET si.key_hash = '" . '00' x 32 . "'; SELECT count(*) FROM api_key"), 0, 'a hash that is wrong finds none';
    is as_worker("SET si.tenant_name = 'nobody'; SELECT count(*) FROM tenant"), 0, 'nor does a wrong name a tenant';
};

subtest 'the role of the worker' => sub {
    is_deeply [$si->pg("SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = 'si_worker'")], [['f', 'f', 'f', 'f', 'f']], 'has no power';
    is join(' ', $si->pg("SELECT relname FROM pg_class WHERE relowner = 'si_worker'::regrole")), '', 'owns no table';
    is join(' ', $si->pg("SELECT proname FROM pg_proc WHERE proowner = 'si_worker'::regrole")), '', 'no function';
    is join(' ', $si->pg("SELECT nspname FROM pg_namespace WHERE nspowner = 'si_worker'::regrole")), '', 'no schema';
    is join(' ', $si->pg("SELECT datname FROM pg_database WHERE datdba = 'si_worker'::regrole")), '', 'no database';
    is join(' ', $si->pg("SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = 'si_worker'::regrole")), '', 'is a member of nothing';
    is join(' ', $si->pg("SELECT proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE prosecdef AND nspname = 'public'")), '', 'and no function lends it another\'s power';
    for my $sql ('CREATE TABLE public.x (a int)', 'SET ROLE si_owner', 'SET SESSION AUTHORIZATION si_owner', 'ALTER TABLE turn DISABLE ROW LEVEL SECURITY', 'ALTER TABLE turn NO FORCE ROW LEVEL SECURITY',
        'DROP POLICY turn_own ON turn', 'TRUNCATE turn', 'DROP TABLE turn', 'ALTER ROLE si_worker BYPASSRLS', 'DELETE FROM message', 'UPDATE message SET content = NULL',
        'DELETE FROM tenant', 'UPDATE api_key SET revoked_at = NULL', 'INSERT INTO tenant (tenant_id, name) VALUES (gen_random_uuid(), $$x$$)', 'SELECT * FROM outbox', 'SET row_security = off; SELECT * FROM turn',
        "COPY turn TO PROGRAM 'cat'")
    {
        my ($rc, $out) = as_worker($sql);
        isnt $rc, 0, "may not: $sql";
    }
};

$model->finish($n);
$live->wait_event('turn.completed');
done_testing;
