package SI::Browser;

# Scripts of t/browser/ that drive Chromium, as part of a test; see SI::Node.
#
#   SI::Browser->need;                                      # skips the whole file when something is not installed
#   SI::Browser->drive('console.mjs', { go => sub { my $argument = shift; … } }, @arguments);

use strict;
use warnings;
use Test::More;
use SI::Node;

sub need {
    SI::Node->need('playwright-core');
    plan skip_all => 'no Chromium' unless $ENV{SI_CHROMIUM} || grep { -x } map { "/usr/bin/$_" } qw(chromium chromium-browser google-chrome);
}

sub drive { my ($class, $script, @more) = @_; SI::Node->drive("browser/$script", @more) }

1;
