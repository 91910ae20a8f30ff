# Every socket of edge and workers gives and takes one byte at a time (t/lib/stingy.c): no answer may depend on how bytes arrive.
use strict;
use warnings;
use File::Temp;
use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;

my $dir = File::Temp::tempdir('si-stingy-XXXXXX', DIR => '/tmp', CLEANUP => 1);
chmod 0755, $dir;
my ($rc, $out) = SI::Test::run({}, 'cc', qw(-shared -fPIC -O1 -D_GNU_SOURCE -o), "$dir/stingy.so", "$FindBin::Bin/lib/stingy.c", '-ldl');
is $rc, 0, 'the shim builds' or BAIL_OUT($out);

my $model = SI::Model->start;
my $si = SI::Test->start(
    workers => 1, nginx_workers => 1, model => $model,
    worker_preload => "$dir/stingy.so", edge_preload => "$dir/stingy.so",
    # The shim stands before the sanitizer's runtime in the list of libraries, on purpose.
    env => { MALLOC_PERTURB_ => 165, ASAN_OPTIONS => 'verify_asan_link_order=0' });

my $c = $si->json(POST => '/v1/conversations', { title => "caf\x{e9}" });
is $c->{status}, 201, 'a conversation';
is $c->{json}{title}, "caf\x{e9}", 'its title';
my $id = $c->{json}{id};

my @tokens = map { "token $_ \x{1F600} \x{fc}\n" } 1 .. 30;
$model->next(kind => 'tokens', tokens => \@tokens, delay_ms => 5);
my $reader = $si->stream(GET => "/v1/conversations/$id/events");
$reader->head;
my $sender = $si->stream(POST => "/v1/conversations/$id/turns", { input => "Byte by byte \x{2603}" });
my $done = $sender->wait_event('turn.completed', 60);
is $done->{data}{message}{content}, join('', @tokens), 'the whole answer';
is join('', map { $_->{data}{text} } grep { $_->{event} eq 'delta' } $sender->seen), join('', @tokens), 'the same in its deltas';
$sender->until_end;
ok $sender->complete, 'a whole stream';
$reader->wait_event('turn.completed', 60);
is join("\n", map { $_->{raw} } $reader->seen), join("\n", map { $_->{raw} } $sender->seen), 'the other reader has the same bytes';

my $again = $si->stream(GET => "/v1/conversations/$id/events", undef, { 'Last-Event-ID' => ($sender->seen)[3]{id} });
$again->wait_event('turn.completed', 60);
is join(' ', map { $_->{id} } $again->seen), join(' ', map { $_->{id} } ($sender->seen)[4 .. $sender->seen - 1]), 'a resume';

$model->next(kind => 'step');
my $n = $model->count;
my $private = $si->stream(POST => '/v1/chat/completions', { model => $model->{name}, messages => [{ role => 'user', content => 'Byte by byte' }], stream => JSON::PP::true });
$model->wait_request(++$n);
for my $token (@tokens[0 .. 2]) {       # each when the one before has gone: the edge sends it past nginx's filters
    $model->go($n, $token);
    my $e = $private->wait_for(sub { length($_->{data}{choices}[0]{delta}{content} // '') && !$_->{taken}++ });
    is $e->{data}{choices}[0]{delta}{content}, $token, 'a token for one reader';
}
$model->finish($n);
$private->until_end;
ok $private->complete, 'a whole stream again';

my $big = 'word ' x 20000;
$model->next(kind => 'tokens', tokens => ['short']);
my $r = $si->json(POST => "/v1/conversations/$id/turns", { input => $big }, {}, timeout => 90);
is $r->{status}, 200, 'a long body';
is $model->request->{json}{messages}[-1]{content}, $big, 'reaches the model whole';
is $si->json(POST => "/v1/conversations/$id/turns", '{"input":')->{status}, 400, 'a broken body is told apart';
is $si->json(GET => "/v1/conversations/$id/messages")->{json}{data}[-2]{content}, $big, 'and is read back';

done_testing;
