# The fake model and the stream reader of the other tests: what they say must be so, or the others prove nothing.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP qw(encode_json decode_json);
use SI::Model;
use SI::Test;
use SI::Test::Stream;

my $model = SI::Model->start;
my $body = encode_json({ model => 'fake-1', stream => JSON::PP::true, stream_options => { include_usage => JSON::PP::true },
    messages => [{ role => 'user', content => 'hello' }] });

sub ask {
    my (%o) = @_;
    return SI::Test::Stream->new(port => $model->port, method => 'POST', path => '/v1/chat/completions', request_body => $body, %o);
}
sub text { join '', map { ref $_->{data} && @{ $_->{data}{choices} } ? $_->{data}{choices}[0]{delta}{content} // '' : '' } @_ }

my $s = ask();
my @events = $s->until_end;
is $s->status, 200, 'a streamed answer';
is text(@events), 't1 t2 t3 t4 t5 ', 'its five tokens';
is $events[-1]{data}, '[DONE]', 'ends with [DONE]';
is $events[-2]{data}{usage}{completion_tokens}, 5, 'usage comes before it';
is_deeply $events[-2]{data}{choices}, [], 'in a chunk without choices';
ok $s->complete, 'the answer is whole';
is $model->request(1)->{json}{messages}[0]{content}, 'hello', 'the request was recorded';

$model->next(kind => 'step');
$s = ask();
my $n = $model->wait_request(2);
is text($s->next_event), '', 'a stepped answer begins with the role';
ok !eval { $s->next_event(0.2); 1 }, 'then nothing comes before the test says go';
$model->go($n, 'one ');
is text($s->next_event), 'one ', 'a token comes when it does';
$model->finish($n);
$s->until_end;
ok $s->complete, 'and the answer ends';

$model->next(kind => 'step');
$s = ask();
$n = $model->wait_request(3);
$s->next_event;
my $before = now_ms();
$s->rst;
cmp_ok $model->wait_closed($n) - $before, '<', 1000, 'a reset by the peer is seen';

$model->next({ kind => 'cut', after => 2 }, { kind => 'status', status => 503, body => '{"x":1}' });
$s = ask();
is text($s->until_end), 't1 t2 ', 'a cut answer has the tokens before the cut';
ok !$s->complete, 'and is not whole';
is ask()->body, '{"x":1}', 'a scripted status has its body';

$model->refuse(1);
ok !eval { ask(); 1 }, 'a refused connection';
$model->refuse(0);
is ask()->head->{status}, 200, 'and back again';

$model->default(kind => 'tokens', tokens => 10, delay_ms => 20);
my @many = map { ask() } 1 .. 100;
SI::Test::Stream->pump_all(\@many, sub { !grep { !$_->ended } @many }, 30, '100 streams');
is scalar(grep { $_->complete && text($_->events) eq text($many[0]->events) } @many), 100, '100 streams at once';

my $plain = SI::Test::Stream->new(port => $model->port, method => 'POST', path => '/v1/chat/completions', request_body => '{"model":"m","messages":[]}');
is decode_json($plain->body)->{choices}[0]{message}{content}, join('', map { "t$_ " } 1 .. 10), 'an answer that is not streamed';
done_testing;
