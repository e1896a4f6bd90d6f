def run(driver, writes, seed): pass
