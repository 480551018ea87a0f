"""What feeds the data layer and what it feeds: exchanges, and the building of candles from trades."""
