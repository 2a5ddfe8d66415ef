package cloud

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps/spec"
)

func builtInPrices(t *testing.T) PriceTable {
	t.Helper()
	prices, err := Prices()
	if err != nil {
		t.Fatal(err)
	}
	return prices
}

func TestSeedStackInSeoulCostsAQuarterDollarAnHour(t *testing.T) {
	for region, want := range map[string]struct{ hourly, monthly float64 }{"ap-northeast-2": {0.249, 182.13}, "us-east-1": {0.219, 159.85}} {
		b := builtInPrices(t).Bill(region)
		b.Add("control plane", "eks:standard", 1, false)
		b.Add("3 x t3.small", "t3.small", 3, false)
		b.Add("NAT gateway", "nat", 1, false)
		b.Add("public IPv4", "ipv4", 1, false)
		b.Add("60 GiB gp3", "gp3:gb-month", 60, false)
		if c := b.Cost(); math.Abs(c.HourlyUSD-want.hourly) > 0.0006 || math.Abs(c.MonthlyUSD-want.monthly) > 0.01 || c.PricesAsOf != "2022-09-03" {
			t.Errorf("%s: got %.4f USD/h, %.2f a month of %s, want %+v", region, c.HourlyUSD, c.MonthlyUSD, c.PricesAsOf, want)
		}
	}
}

func TestSumsOfABillAreThoseOfItsHours(t *testing.T) {
	b := builtInPrices(t).Bill("us-east-1")
	b.Add("control plane", "eks:standard", 1, false)
	b.Add("20 GiB gp3", "gp3:gb-month", 20, true)
	c := b.Cost("traffic")
	got := [4]float64{c.HourlyUSD, c.MonthlyUSD, c.MonthlyPartTimeUSD, c.MonthlyAfterDownUSD}
	want := [4]float64{0.1 + 1.6/730, 73 + 1.6, 73.0/6 + 1.6, 1.6}
	for i := range got {
		if math.Abs(got[i]-want[i]) > 1e-9 {
			t.Errorf("got %v, want %v", got, want)
			break
		}
	}
	if d := cmp.Diff([]string{"traffic"}, c.NotCounted); d != "" {
		t.Error(d)
	}
}

func TestUnknownPriceIsSaidAndNotCounted(t *testing.T) {
	b := builtInPrices(t).Bill("eu-west-1")
	b.Add("2 x t3.small", "t3.small", 2, false)
	b.Add("volume", "gp3:gb-month", 20, true)
	c := b.Cost()
	if c.HourlyUSD != 0 || !c.RestUnknown() {
		t.Errorf("got %+v, want nothing counted", c)
	}
	if d := cmp.Diff([]string{"2 x t3.small", "volume"}, c.Unknown); d != "" {
		t.Error(d)
	}
}

// An item is a figure or an explicit null in every region of the table, so that a gap is one that somebody looked at.
func TestTableSaysOfEveryItemInEveryRegionThatItIsKnownOrNot(t *testing.T) {
	var lists []PriceList
	if err := json.Unmarshal(pricesFile, &lists); err != nil {
		t.Fatal(err)
	}
	const items = "eks:standard eks:extended nat nat:regional ipv4 clb nlb alb gp2:gb-month gp3:gb-month gp3:iops-month gp3:mibps-month snapshot:gb-month t3.small t3.medium t3.large m5.large"
	for _, region := range []string{"ap-northeast-2", "us-east-1", "us-east-2", "us-west-2", "eu-central-1"} {
		for item := range strings.FieldsSeq(items) {
			said := slices.ContainsFunc(lists, func(l PriceList) bool { _, ok := l.Regions[region][item]; return ok })
			if !said {
				t.Errorf("%s: %s is neither known nor said to be unknown", region, item)
			}
		}
	}
	for _, region := range []string{"ap-northeast-2", "us-east-1", "us-west-2", "eu-central-1"} { // what every cluster has
		for item := range strings.FieldsSeq("eks:standard eks:extended nat ipv4 gp3:gb-month t3.small t3.medium m5.large m6i.xlarge") {
			if _, known := builtInPrices(t).Hourly(region, item); !known {
				t.Errorf("%s: %s has no price", region, item)
			}
		}
	}
	for region, items := range builtInPrices(t) {
		for item, p := range items {
			if p.USD <= 0 || len(p.AsOf) != len("2026-01-01") {
				t.Errorf("%s: %s: %+v", region, item, p)
			}
		}
	}
}

func TestPriceFileIsLaidOverTheBuiltInTable(t *testing.T) {
	for name, text := range map[string]string{
		"YAML": "asOf: 2027-01-01\nregions:\n  eu-central-1: {t3.small: 0.024, \"spot:t3.small\": 0.01}\n  us-east-1: {nat: null}\n",
		"JSON": `{"asOf": "2027-01-01", "regions": {"eu-central-1": {"t3.small": 0.024, "spot:t3.small": 0.01}, "us-east-1": {"nat": null}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			list, err := ReadPrices("prices", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			prices, err := Prices(list)
			if err != nil {
				t.Fatal(err)
			}
			if _, known := prices.Hourly("us-east-1", "nat"); known {
				t.Error("null leaves the price known")
			}
			want := Price{USD: 0.024, AsOf: "2027-01-01"}
			if prices["eu-central-1"]["t3.small"] != want || prices["us-east-1"]["ipv4"].USD != 0.005 {
				t.Errorf("got %+v", prices)
			}
			if _, known := builtInPrices(t).Hourly("us-east-1", "nat"); !known {
				t.Error("the file changed the built-in table")
			}
		})
	}
}

func TestEveryProblemOfAPriceFileIsToldWithItsPlace(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                 {"", []string{"p.yaml:1:1: the file is empty"}},
		"no YAML":               {"asOf: [", []string{"p.yaml:1:1: did not find expected node content"}},
		"no date":               {"regions: {}\n", []string{"p.yaml:1:1: asOf: is required"}},
		"a key that is not one": {"asOf: 2026-01-01\nregion: {}\nregions: {}\n", []string{"p.yaml:2:1: region: unknown field"}},
		"a price that is a word": {"asOf: 2026-01-01\nregions:\n  us-east-1:\n    nat: cheap\n", []string{
			`p.yaml:4:10: regions.us-east-1.nat: expected a number, got "cheap"`}},
		"names and values": {"asOf: 2026-01-01\nregions:\n  us-east1:\n    nat: 0.1\n  us-east-1:\n    nats: 0.1\n    t3.small: -1\n    ipv4: 0\n", []string{
			`p.yaml:3:3: unknown region "us-east1"`, `p.yaml:6:5: unknown item "nats"`,
			"p.yaml:7:15: t3.small: expected USD above 0 and below 1000, got -1", "p.yaml:8:11: ipv4: expected USD above 0 and below 1000, got 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadPrices("p.yaml", []byte(c.text))
			problems, ok := errors.AsType[spec.Problems](err)
			if !ok {
				t.Fatalf("got %v, want problems", err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.Error())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
