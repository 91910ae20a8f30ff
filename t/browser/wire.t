#!/usr/bin/perl
# Si's event streams as three parsers of others read them: Chromium's EventSource and npm's eventsource and eventsource-parser.
# The texts are those of the format-* cases of web-platform-tests, looked for in $SI_CORPUS, else in ../shared/corpus beside
# the repository. Then an EventSource stays through a reload of nginx and the death of each kind of process. See wire.mjs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP ();
use Test::More;
use SI::Browser;
use SI::Model;
use SI::Test;

SI::Browser->need;

my $json = JSON::PP->new->allow_nonref->utf8;
my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model, nginx => 'si_stream_drain 1s', config => "gateway: { attempts: 1 }\n");      # no second try for what is malformed
my $request;            # the number of the model's request that is being stepped

# The pid of the worker that runs a turn, of which there is one.
sub busy {
    return poll_until {
        my ($w) = grep { @{ $_->{running} || [] } } @{ ($si->status || {})->{workers} || [] };
        $w && ($w->{worker} =~ /\.(\d+)$/)[0];
    } undef, 'a running turn in /status';
}

my %do = (
    say => sub { $model->next(kind => 'tokens', tokens => [$json->decode($_[0])]) },
    step => sub { $request = $model->count + 1; $model->next(kind => 'step') },
    go => sub { $model->wait_request($request); $model->go($request, $json->decode($_[0])) },
    finish => sub { $model->finish($request) },
    reload => sub { my @old = $si->reload_nginx; poll_until { !grep { SI::Test::alive($_) } @old } 60, 'the end of the old process' },
    kill_edge => sub { $si->kill9(($si->nginx_pids)[0]) },
    kill_worker => sub { $si->kill9(busy()) },
);

my $corpus = $ENV{SI_CORPUS} || root() . '/../shared/corpus';
SI::Browser->drive('wire.mjs', \%do, $si->url, $si->key, "$corpus/eventsource/cases.json");
done_testing;
