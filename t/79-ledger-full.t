# The ledger of usage is full: Postgres is away for so long that no more can be written down. Calls are refused in each dialect's words,
# nothing that was taken is lost, and all goes on when Postgres is back.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $FILES = 256;        # LEDGER_FILES_MAX of worker/llm/ledger.h
my $ENTRIES = 1023;     # LEDGER_ENTRIES
my $SLOT = 1024;        # SLOT_BYTES of worker/llm/ledger_file.h

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 1, config => $model->config);
my $folder = $si->dir . '/run/journal/usage';
my @talk = (messages => [{ role => 'user', content => 'x' }]);
my %asks = (
    '/v1/chat/completions' => { model => 'fake-1', @talk }, '/v1/messages' => { model => 'fake-1', max_tokens => 9, @talk },
    '/v1/responses' => { model => 'fake-1', input => 'x' }, '/v1/embeddings' => { model => 'lexical', input => 'another text' },
);
sub metric { my ($n) = $si->http(GET => '/metrics')->{body} =~ /^\Q$_[0]\E(?:\{[^}]*\})? (\d+)$/m; return $n }
sub files { return grep { /\.usage$/ } glob "$folder/*" }
my ($calls, $rows) = (0, 0);

# Embeddings by `lexical`, which takes no time; 32 at once.
sub embed {
    my $n = shift;
    my @r = map {
        SI::Test::Stream->new(port => $si->port, method => 'POST', path => '/v1/embeddings', keep_body => 1, request_body => JSON::PP::encode_json({ model => 'lexical', input => 'text ' . ++$calls }),
            headers => $si->auth({ 'Content-Type' => 'application/json', Connection => 'close' }))
    } 1 .. $n;
    return map { SI::Test::answer($_, 60) } @r;
}

# A dead worker's file, with one row: this worker's, under an id of its own.
sub leave_file {
    my ($from, $i) = @_;
    my $id = sprintf '01a00000-0000-7000-8000-%012x', $i;
    open my $in, '<:raw', $from or die "$from: $!";
    read $in, my $head, 2 * $SLOT;
    substr($head, $SLOT) =~ s/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/$id/ or die 'no row in the file';
    open my $out, '>:raw', "$folder/$id.new" or die $!;
    print $out $head;
    truncate $out, $SLOT * ($ENTRIES + 1);
    close $out;
    chown +(stat $from)[4, 5], "$folder/$id.new";
    chmod 0600, "$folder/$id.new";
    rename "$folder/$id.new", "$folder/$id.usage" or die $!;
}

is +(embed(1))[0]{status}, 200, 'a call';
poll_until { metric('si_usage_waiting') == 0 } undef, 'its row';
my $stored = ($si->pg('SELECT count(*) FROM usage'))[0];
$si->stop_postgres;

subtest 'it fills up' => sub {
    is +(embed(1))[0]{status}, 200, 'without Postgres calls go on';
    poll_until { metric('si_usage_waiting') == 1 } undef, 'its row to wait';
    my ($ours) = files();
    leave_file($ours, $_) for 1 .. $FILES - 1;
    poll_until { metric('si_usage_waiting') == $FILES } undef, 'what dead workers have left to be taken over';
    my $left = $ENTRIES - 1;
    my @bad;
    while ($left > 0) {
        my $n = $left < 32 ? $left : 32;
        push @bad, grep { $_->{status} != 200 } embed($n);
        $left -= $n;
    }
    is scalar(@bad), 0, 'as long as there is room' or diag $bad[0]{body};
    is metric('si_usage_waiting'), $FILES - 1 + $ENTRIES, 'so many rows wait';
};

subtest 'it is full' => sub {
    my $before = $model->count;
    my %said = ('/v1/chat/completions' => [503, 'ledger_full'], '/v1/responses' => [503, 'ledger_full'], '/v1/embeddings' => [503, 'ledger_full'], '/v1/messages' => [529, 'overloaded_error']);
    for my $path (sort keys %asks) {
        for my $stream ($path =~ /embed/ ? () : JSON::PP::true, JSON::PP::false) {
            my $r = $si->json(POST => $path, { %{ $asks{$path} }, $path =~ /embed/ ? () : (stream => $stream) });
            my $e = $r->{json}{error};
            is_deeply [$r->{status}, $path =~ /messages/ ? $e->{type} : $e->{code}], $said{$path}, "$path is refused" or diag $r->{body};
            is $e->{details}{error_code}, 'ledger_full', 'with the reason' if $path =~ /messages/;
            cmp_ok $r->{headers}{'retry-after'} // 0, '>=', 1, 'and when to come back';
        }
    }
    is metric('si_usage_refused_total'), 7, 'refusals are counted';
    is $model->count, $before, 'no model was asked';
    is $si->http(GET => '/readyz')->{status} ? 1 : 0, 1, 'the worker is there';
};

subtest 'Postgres is back' => sub {
    $si->start_postgres;
    poll_until { metric('si_usage_waiting') == 0 } 60, 'the rows to be stored';
    is(($si->pg('SELECT count(*) FROM usage'))[0], $stored + $FILES - 1 + $ENTRIES, 'each of them, once');
    is metric('si_usage_lost_total'), 0, 'none was lost';
    is scalar(files()), 1, 'the files of the dead are gone';
    for my $path (sort keys %asks) {
        is $si->json(POST => $path, $asks{$path})->{status}, 200, "$path works again";
    }
    is metric('si_usage_refused_total'), 7, 'and nothing more is refused';
};

done_testing;
