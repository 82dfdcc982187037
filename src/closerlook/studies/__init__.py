"""Studies: what the paper says, as statements that data can contradict, and what data say of them."""
