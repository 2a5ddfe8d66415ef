package cloud

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestSeedStackInSeoulCostsAQuarterDollarAnHour(t *testing.T) {
	prices, err := Prices()
	if err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string]float64{"ap-northeast-2": 0.249, "us-east-1": 0.219} {
		b := prices.Bill(region)
		b.Add("control plane", "eks:standard", 1, false)
		b.Add("3 x t3.small", "t3.small", 3, false)
		b.Add("NAT gateway", "nat", 1, false)
		b.Add("public IPv4", "ipv4", 1, false)
		b.Add("60 GiB gp3", "gp3:gb-month", 60, false)
		if got := b.Cost().HourlyUSD; math.Abs(got-want) > 0.0006 {
			t.Errorf("%s: got %.4f USD/h, want %.3f", region, got, want)
		}
	}
}

func TestUnknownPriceIsSaidAndNotCounted(t *testing.T) {
	prices, err := Prices()
	if err != nil {
		t.Fatal(err)
	}
	b := prices.Bill("ap-northeast-2")
	b.Add("2 x x9.huge", "x9.huge", 2, false)
	if c := b.Cost(); c.HourlyUSD != 0 || len(c.Unknown) != 1 {
		t.Errorf("got %+v, want nothing counted and one unknown", c)
	}
}

func TestPriceFileIsLaidOverTheBuiltInTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(file, []byte(`{"asOf":"2027-01-01","regions":{"eu-central-1":{"t3.small":0.024}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIPECTL_PRICES", file)
	prices, err := Prices()
	if err != nil {
		t.Fatal(err)
	}
	if prices.AsOf != "2027-01-01" || prices.Regions["eu-central-1"]["t3.small"] != 0.024 || prices.Regions["us-east-1"]["nat"] != 0.045 {
		t.Errorf("got %+v", prices)
	}
}
